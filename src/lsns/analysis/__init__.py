"""Analyzers: activations in two conditions to a mask."""

from __future__ import annotations

from lsns.analysis.base import BaseAnalyzer as BaseAnalyzer
from lsns.analysis.base import MomentsAnalyzer as MomentsAnalyzer
from lsns.analysis.methods import METHODS as METHODS
from lsns.analysis.methods import MeanAnalyzer as MeanAnalyzer
from lsns.analysis.methods import NMDAnalyzer as NMDAnalyzer
from lsns.analysis.methods import SignedTTestAnalyzer as SignedTTestAnalyzer
from lsns.analysis.methods import TTestAnalyzer as TTestAnalyzer
