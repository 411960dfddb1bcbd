"""The transformer of HuBERT, with fairseq's parameter names (fairseq `models/wav2vec/wav2vec2.py`)."""

from __future__ import annotations

import contextlib
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.models.hubert_config import HubertConfig


class PositionalConv(nn.Module):
    """Grouped convolution over frames, weight-normalised per kernel tap, padded to keep the number of frames."""

    def __init__(self, dim: int, kernel: int, groups: int):
        super().__init__()
        self.kernel, self.groups = kernel, groups
        weight = torch.empty(dim, dim // groups, kernel)
        nn.init.normal_(weight, std=math.sqrt(4.0 / (kernel * dim)))
        self.weight_g = nn.Parameter(weight.norm(dim=(0, 1), keepdim=True))
        self.weight_v = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return `(batch, dim, frames)` for `x` of the same shape."""
        weight = self.weight_v * (self.weight_g / self.weight_v.norm(dim=(0, 1), keepdim=True))
        # oneDNN's grouped convolution in bfloat16 is wrong on CPUs with AMX below 16 channels a group (torch 2.9).
        too_narrow = x.device.type == "cpu" and weight.size(1) < 16
        with torch.autocast("cpu", enabled=False) if too_narrow else contextlib.nullcontext():
            y = F.conv1d(x, weight, self.bias, padding=self.kernel // 2, groups=self.groups)
        # An even kernel gives one frame too many at the end.
        return y[..., : x.size(2)]


SHORT = 256
"""Frames up to which plain products train faster than torch's fused attention on a CPU in bfloat16 (measured: 2.8 times
at 124 frames, equal at 375)."""


def attend(query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None, dropout: float) -> Tensor:
    """Return scaled dot-product attention `(batch, heads, frames, width)` of three tensors of that shape."""
    training_on_cpu = query.requires_grad and query.device.type == "cpu"
    if not (training_on_cpu and query.dtype == torch.bfloat16 and query.size(2) <= SHORT):
        return F.scaled_dot_product_attention(query, key, value, key_mask, dropout)
    scores = (query * query.size(3) ** -0.5) @ key.transpose(2, 3)
    if key_mask is not None:
        scores = scores.masked_fill(~key_mask, float("-inf"))
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
    return F.dropout(weights, dropout) @ value


class SelfAttention(nn.Module):
    """Multi-head self-attention over `(batch, frames, dim)`."""

    def __init__(self, dim: int, num_heads: int, dropout: float):
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.q_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, key_mask: Tensor | None) -> Tensor:
        """Attend to the frames where `key_mask` `(batch, 1, 1, frames)` is true; `None`: to all."""
        batch, frames, dim = x.shape
        # One product instead of three: the input is converted and read once.
        weight = torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight])
        bias = torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias])
        heads = F.linear(x, weight, bias).view(batch, frames, 3, self.num_heads, dim // self.num_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        attended = attend(query, key, value, key_mask, dropout)
        return self.out_proj(attended.transpose(1, 2).reshape(batch, frames, dim))


class TransformerLayer(nn.Module):
    """One layer, with the layer norms before (pre-LN) or after (post-LN) attention and feed-forward network."""

    def __init__(self, config: HubertConfig):
        super().__init__()
        self.self_attn = SelfAttention(config.dim, config.num_heads, config.attention_dropout)
        self.self_attn_layer_norm = nn.LayerNorm(config.dim)
        self.fc1 = nn.Linear(config.dim, config.ffn_dim)
        self.fc2 = nn.Linear(config.ffn_dim, config.dim)
        self.final_layer_norm = nn.LayerNorm(config.dim)
        self.layer_norm_first = config.layer_norm_first
        self.dropout = nn.Dropout(config.dropout)
        self.activation_dropout = nn.Dropout(config.activation_dropout)

    def forward(self, x: Tensor, key_mask: Tensor | None) -> Tensor:
        """Return `(batch, frames, dim)` for `x` of the same shape."""
        if self.layer_norm_first:
            x = x + self.dropout(self.self_attn(self.self_attn_layer_norm(x), key_mask))
            return x + self._feed_forward(self.final_layer_norm(x))
        x = self.self_attn_layer_norm(x + self.dropout(self.self_attn(x, key_mask)))
        return self.final_layer_norm(x + self._feed_forward(x))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.fc2(self.activation_dropout(F.gelu(self.fc1(x)))))


class Transformer(nn.Module):
    """Positional convolution and layers; returns the hidden states of all of them."""

    def __init__(self, config: HubertConfig):
        super().__init__()
        self.pos_conv = nn.Sequential(PositionalConv(config.dim, config.conv_pos, config.conv_pos_groups), nn.GELU())
        self.layers = nn.ModuleList(TransformerLayer(config) for _ in range(config.num_layers))
        self.layer_norm = nn.LayerNorm(config.dim)
        self.layer_norm_first = config.layer_norm_first
        self.layerdrop = config.layerdrop
        self.dropout = nn.Dropout(config.dropout)
        self.layers.apply(_initialise_as_bert)

    def forward(self, x: Tensor, valid: Tensor | None) -> list[Tensor]:
        """Return `num_layers + 1` hidden states `(batch, frames, dim)`.

        The first is the input of the first layer, and of a pre-LN model the last is after the final layer norm: the
        convention of transformers' `HubertModel`. `valid` is `(batch, frames)`, `None` where all frames are.
        """
        key_mask = None
        if valid is not None:
            # The positional convolution reaches into the padding.
            x = x.masked_fill(~valid[..., None], 0.0)
            key_mask = valid[:, None, None]
        # Under autocast the projection and the convolution give half precision; what the layers add up must be wider.
        x = x.to(self.layer_norm.weight.dtype)
        x = x + self.pos_conv(x.transpose(1, 2)).transpose(1, 2)
        if not self.layer_norm_first:
            x = self.layer_norm(x)
        x = self.dropout(x)
        hidden_states = [x]
        for layer in self.layers:
            x = self._maybe_skip(x, layer(x, key_mask))
            hidden_states.append(x)
        if self.layer_norm_first:
            hidden_states[-1] = self.layer_norm(x)
        return hidden_states

    def _maybe_skip(self, x: Tensor, output: Tensor) -> Tensor:
        """Apply layerdrop.

        A skipped layer is computed and multiplied away: its parameters then have a gradient, zero, in every process,
        which DDP and FSDP need. It costs as much time as layerdrop would save.
        """
        if self.training and self.layerdrop > 0 and torch.rand(()).item() < self.layerdrop:
            return x + 0.0 * output
        return output


def _initialise_as_bert(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
