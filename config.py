"""The guide's import path of `lsns.config`."""

from lsns.config import AnalysisConfig as AnalysisConfig
from lsns.config import ExperimentConfig as ExperimentConfig
from lsns.config import GenerationConfig as GenerationConfig
from lsns.config import LesionConfig as LesionConfig
from lsns.config import ModelConfig as ModelConfig
