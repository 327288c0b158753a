"""The guide's import path of `lsns.models.factory`."""

from lsns.models.factory import ModelFactory as ModelFactory
from lsns.models.factory import ModelRequest as ModelRequest
from lsns.models.factory import load_model as load_model
