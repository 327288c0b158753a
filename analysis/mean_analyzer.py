"""The guide's import path of `lsns.analysis.mean_analyzer`."""

from lsns.analysis.mean_analyzer import MeanAnalyzer as MeanAnalyzer
