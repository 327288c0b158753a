"""Analyzers: activations in two conditions to a mask."""

from __future__ import annotations

from lsns.analysis.base import BaseAnalyzer, MomentsAnalyzer
from lsns.analysis.mean_analyzer import MeanAnalyzer
from lsns.analysis.nmd_analyzer import NMDAnalyzer
from lsns.analysis.ttest_analyzer import SignedTTestAnalyzer, TTestAnalyzer

METHODS: dict[str, type[MomentsAnalyzer]] = {
    "ttest": TTestAnalyzer,
    "ttest-signed": SignedTTestAnalyzer,
    "nmd": NMDAnalyzer,
    "mean": MeanAnalyzer,
}

__all__ = [
    "METHODS",
    "BaseAnalyzer",
    "MeanAnalyzer",
    "MomentsAnalyzer",
    "NMDAnalyzer",
    "SignedTTestAnalyzer",
    "TTestAnalyzer",
]
