"""The guide's import path of `lsns.models`."""

from lsns.models.factory import ModelFactory as ModelFactory
from lsns.models.factory import load_model as load_model
