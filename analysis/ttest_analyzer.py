"""The guide's import path of `lsns.analysis.ttest_analyzer`."""

from lsns.analysis.ttest_analyzer import SignedTTestAnalyzer as SignedTTestAnalyzer
from lsns.analysis.ttest_analyzer import TTestAnalyzer as TTestAnalyzer
