# The names of the face, each from its home. `avizor_export/__init__.py` loads them when they are used.

from .architectures.catalogue import ARCHITECTURES as ARCHITECTURES
from .architectures.catalogue import build as build
from .architectures.catalogue import build_autoencoder as build_autoencoder
from .data.labelled_items import LabelledItems as LabelledItems
from .detection.detector import Detector as Detector
from .detection.fit import add_scores as add_scores
from .detection.fit import train_detector as train_detector
from .exporter import adopt_model as adopt_model
from .exporter import export_model as export_model
from .front_ends.build import build_front_end as build_front_end
from .front_ends.build import fit_constants as fit_constants
from .graph.wrap import wrap as wrap
from .graph.wrapped_network import WrappedNetwork as WrappedNetwork
from .networks.input_description import parse_input as parse_input
from .report import describe_export as describe_export
from .request import ExportRequest as ExportRequest
