# The names of the face, each from its home. `avizor_review/__init__.py` loads them when they are used.

from .item_query import ItemQuery as ItemQuery
from .results import Results as Results
