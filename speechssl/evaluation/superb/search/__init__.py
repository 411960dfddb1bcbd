"""Search for spoken terms (QbE) by the hidden states themselves: there is no head, and nothing is trained."""
