"""The guide's import path of its analyzer in `lsns.analysis.methods`."""

from lsns.analysis.methods import MeanAnalyzer as MeanAnalyzer
