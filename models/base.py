"""The guide's import path of `lsns.models.base`."""

from lsns.models.base import BaseModel as BaseModel
