"""The guide's import path of `lsns.analysis.nmd_analyzer`."""

from lsns.analysis.nmd_analyzer import NMDAnalyzer as NMDAnalyzer
