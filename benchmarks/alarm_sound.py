"""Let the gateway's Monitor hear hours of generated sound, with a small autoencoder: the last table of alarms.py."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from avizor.v1 import inference_pb2 as pb
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.input_spec import AudioInput, LogMelFrontEnd
from avizor_inference.repository.models import ModelRepository
