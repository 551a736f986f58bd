"""Answer Reconstruct with what an autoencoder makes of each item: as a tensor, a PNG or a WAV."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from avizor.v1 import inference_pb2 as pb
from avizor_inference.errors import InvalidInput
from avizor_inference.items.images import encode_png
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.join_windows import join_windows
from avizor_inference.items.kinds.base import Span
from avizor_inference.items.wav_writer import encode_wav
from avizor_service import wire
from avizor_service.calls import Call
from avizor_service.gateway import Gateway
from avizor_service.inference import BadItem, ItemResult
from avizor_service.newest import by_newest
from avizor_service.status import item_status

_OUTPUT = "reconstruction"

# What makes the message on one item of its result.
_Encoder = Callable[[ItemResult], pb.Reconstruction]


@by_newest
async def reconstruct(gateway: Gateway, request: pb.ReconstructRequest, call: Call) -> pb.ReconstructResponse:
    """Return the reconstruction of each item in the format of the request. An item that cannot be served has an error instead.

    Raises InvalidInput, before anything runs, for a format that the model's reconstructions cannot have.
    """
    if request.format not in pb.ReconstructionFormat.values():
        raise InvalidInput(f"format {request.format} is not known; see ReconstructionFormat", field="format")
    model = await gateway.open_model(call, request, "reconstruct")
    encoder = _encoder(request.format, model.manifest.input)
    encoded = await gateway.inference.run_then(
        model, request.items, [_OUTPUT], call.time_remaining_s, partial(_encoded, encoder)
    )
    answer = pb.ReconstructResponse(model=call.model, version=model.version.version)
    answer.items.extend(encoded)
    return answer


def _encoded(encoder: _Encoder, results: list[ItemResult | BadItem]) -> list[pb.Reconstruction]:
    """Return the message on each item. Run in a thread: compressing a picture takes time."""
    messages = []
    for number, result in enumerate(results):
        try:
            message = encoder(result) if isinstance(result, ItemResult) else _failed(result.error, number)
        except InvalidInput as error:  # a value that no picture or sound has
            message = _failed(error, number)
        messages.append(message)
    return messages


def _failed(error: Exception, number: int) -> pb.Reconstruction:
    return pb.Reconstruction(error=item_status(error, number))


def _encoder(format: pb.ReconstructionFormat, spec: InputSpec) -> _Encoder:
    """Return what encodes a result. Raises InvalidInput if the model's reconstructions cannot have this format."""
    if format == pb.RECONSTRUCTION_FORMAT_PNG:
        return _png(spec)
    if format == pb.RECONSTRUCTION_FORMAT_WAV:
        return _wav(spec)

    def tensor(result: ItemResult) -> pb.Reconstruction:
        spans = wire.span_messages(result.item.spans, spec)
        return pb.Reconstruction(tensor=wire.tensor_message(result.outputs[_OUTPUT]), spans=spans)

    return tensor


def _png(spec: InputSpec) -> _Encoder:
    to_picture = spec.to_picture()

    def png(result: ItemResult) -> pb.Reconstruction:
        (only,) = result.outputs[_OUTPUT]  # an image is one window
        return pb.Reconstruction(png=encode_png(to_picture(only)))

    return png


def _wav(spec: InputSpec) -> _Encoder:
    to_samples, format = spec.to_samples(), spec.window_format()
    assert format  # sound is cut into windows
    rate, window = int(format.sample_rate or 0), format.window

    def wav(result: ItemResult) -> pb.Reconstruction:
        parts = [span or Span(0, 0, window) for span in result.item.spans]  # a tensor is a whole window
        return pb.Reconstruction(wav=encode_wav(join_windows(to_samples(result.outputs[_OUTPUT]), parts), rate))

    return wav
