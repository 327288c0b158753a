"""The guide's import path of its analyzer in `lsns.analysis.methods`."""

from lsns.analysis.methods import SignedTTestAnalyzer as SignedTTestAnalyzer
from lsns.analysis.methods import TTestAnalyzer as TTestAnalyzer
