"""The guide's import path of `lsns.analysis.base`."""

from lsns.analysis.base import BaseAnalyzer as BaseAnalyzer
from lsns.analysis.base import MomentsAnalyzer as MomentsAnalyzer
