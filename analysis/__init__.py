"""The guide's import path of `lsns.analysis`."""

from lsns.analysis import METHODS as METHODS
from lsns.analysis import BaseAnalyzer as BaseAnalyzer
from lsns.analysis import MeanAnalyzer as MeanAnalyzer
from lsns.analysis import MomentsAnalyzer as MomentsAnalyzer
from lsns.analysis import NMDAnalyzer as NMDAnalyzer
from lsns.analysis import SignedTTestAnalyzer as SignedTTestAnalyzer
from lsns.analysis import TTestAnalyzer as TTestAnalyzer
