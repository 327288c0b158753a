from .activations import extract as extract
from .analysis import BaseAnalyzer as BaseAnalyzer
from .audits.audit import Audit as Audit
from .audits.auditing import audit as audit
from .audits.comparison import Comparison as Comparison
from .audits.comparison import compare as compare
from .errors import LsnsError as LsnsError
from .evaluation.lesion_study import evaluate as evaluate
from .evaluation.study import Study as Study
from .lesions.ablation import lesion as lesion
from .lesions.controls import control_mask as control_mask
from .lesions.generation import generate as generate
from .localization import Localization as Localization
from .localization import localize as localize
from .mask import UnitMask as UnitMask
from .models.base import BaseModel as BaseModel
from .models.factory import ModelFactory as ModelFactory
from .models.factory import load_model as load_model
from .models.huggingface import HuggingFaceModel as HuggingFaceModel
from .moments import Moments as Moments
from .report.figures import plot as plot
from .stimuli.contrast import Contrast as Contrast
from .stimuli.networks import load_contrast as load_contrast

__version__: str
