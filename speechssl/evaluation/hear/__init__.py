"""HEAR: frozen encoders in tasks of whole recordings ("scenes") and of events in time.

Turian et al., 2022, "HEAR: Holistic Evaluation of Audio Representations" (arXiv 2203.03022). The protocol is that of
hear-eval-kit 2021.1.3 (github.com/hearbenchmark/hear-eval-kit); `scores.py` and `heads.py` say where it is another.
"""
