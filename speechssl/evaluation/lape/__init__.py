"""LAPE (Low-resource Audio Processing and Evaluation): one class a clip, by a linear head or by fine-tuning.

The protocol is that of DeLoRes and LAPE (arXiv 2203.13628, github Sreyan88/LAPE), or a sound one, see `protocols.py`.
"""
