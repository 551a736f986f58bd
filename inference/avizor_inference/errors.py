"""The one error tree of Avizor. It does not know gRPC or exit codes: each server and command maps it in one table.

    AvizorError
    ├── RepositoryError            a model repository, or one model in it, cannot be used
    │   ├── ModelNotFound          no model, or no version, of that name
    │   └── VersionRefused         a version whose files do not agree with its manifest or with each other
    ├── SettingsError              a command cannot do what its options ask for: an address, a folder, a device
    │   ├── TokenFileError         a file of tokens that cannot be used
    │   └── CertificateFileError   a certificate, or its key, that cannot be used
    ├── RequestError               the caller's request is wrong
    │   ├── InvalidInput           an input is missing, unknown, or of the wrong dtype or shape
    │   ├── UnknownOutput          an output that the model does not have
    │   ├── BatchTooLarge          more items than the model's max_batch_size
    │   ├── SharedMemoryUnknown    a tensor in a region of shared memory, of which the gateway has none
    │   ├── AnswerTooLarge         the answer would hold more than the gateway computes for a call
    │   └── MessageLate            a call whose message was not complete in time
    ├── EngineError                the engine failed at a valid request
    │   ├── EngineUnavailable      the engine cannot be reached, or was closed
    │   │   ├── VersionNotLoaded   the engine has not loaded this version, or not any more
    │   │   └── EngineMismatch     the engine answers what this version cannot, or refuses what it takes
    │   ├── DeadlineExceeded       there was no answer in time
    │   ├── EngineBusy             more requests wait for a model, or for longer, than its config.pbtxt allows
    │   └── GpuFull                the GPU has no memory left for a model, or for a run of it
    ├── GatewayFull                the gateway has as much to do as it accepts at once
    │   └── RateExceeded           a token has made as many calls as it may in this time
    ├── Unauthenticated            a call without a token that counts
    ├── NotAllowed                 a call for a model that its token may not ask for
    ├── MessageTooLarge            a request is larger than the gateway takes
    ├── GatewayStopping            the gateway is shutting down
    ├── CalibrationError           a calibration that cannot be made, or that cannot support a p-value
    ├── NotExplainable             an explanation that cannot be computed for this model
    ├── MediaError                 a file or a stream that cannot be decoded
    │   └── ColumnMissing          a table without a column that an option names
    ├── DecoderEnded               a process that decodes media ended before it answered
    ├── DatasetError               a dataset that cannot be listed or read
    ├── StoreUnavailable           an object store that cannot be reached, or does not know the credentials
    ├── WorkersFailed              the workers of a gateway do not start, or end again and again
    ├── JobError                   a batch job that cannot start or go on
    └── ExportError                a model that cannot be exported as requested
        ├── FrozenBatch            a graph whose batch cannot be freed
        ├── GraphVersionError      a graph that cannot be brought to the contract's opset and IR version
        ├── ItemsInfluenceError    a network whose result for an item depends on the other items of its batch
        ├── ParityError            a graph whose results differ from those of its reference
        └── UnsafeFile             a file that could run code when it is loaded

Each message says what is wrong and how to fix it. `str(error)` may be shown to the person who made the request. The last
paragraph of each docstring says what to do in general: docs/reference/errors.md is made of them.
"""


class AvizorError(Exception):
    """Base of every error that Avizor raises on purpose.

    To do: what the message says.
    """


class RepositoryError(AvizorError):
    """A model repository, or one model in it, cannot be used.

    To do: run `avizor models check`, which names the file; export again, or mend it.
    """


class ModelNotFound(RepositoryError):
    """No model, or no version of it, has that name.

    To do: name one of those that the message lists; `avizor models`, or `avizor call models`, has all.
    """


class VersionRefused(RepositoryError):
    """A version's files do not agree with its manifest, or with each other.

    To do: run `avizor models check`, then export the version again; never edit the files of a version.
    """


class SettingsError(AvizorError):
    """A command cannot do what its options ask for: an address, a folder, a device.

    To do: change the option that the message names.
    """


class TokenFileError(SettingsError):
    """A file of tokens cannot be used.

    To do: mend the line of the file that the message names (docs/security.md); the tokens from before count until then.
    """


class CertificateFileError(SettingsError):
    """A file of a certificate, or of its key, cannot be used.

    To do: write a certificate and the key that belongs to it, in PEM; the pair from before is in use until then.
    """


class RequestError(AvizorError):
    """The caller's request is wrong; `field` names the part that is.

    To do: change that part of the request; to try again would not help.
    """

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class InvalidInput(RequestError):
    """An input is missing, unknown, or of the wrong dtype or shape.

    To do: send what `avizor call models NAME --json`, or GetModel, says of the input.
    """


class UnknownOutput(RequestError):
    """The model does not have that output.

    To do: ask for one of the outputs that GetModel lists.
    """


class BatchTooLarge(RequestError):
    """A request has more items than the model's max_batch_size.

    To do: send fewer items in a request; `max_batch_size` of GetModel is the limit.
    """


class SharedMemoryUnknown(RequestError):
    """A tensor of a request is in a region of shared memory that the gateway does not know.

    To do: send the tensor in the request.
    """


class AnswerTooLarge(RequestError):
    """The answer to a request would hold more than the gateway computes for a call.

    To do: ask for fewer items or outputs in a request, or raise `--max-answer-mib`.
    """


class MessageLate(RequestError):
    """The message of a call was not complete in time.

    To do: send less in a request, or over a faster network; or raise `--receive-timeout-s`.
    """


class EngineError(AvizorError):
    """The engine failed at a valid request.

    To do: look for the request id in the gateway's log; run `avizor models check`; then try the item alone.
    """


class EngineUnavailable(EngineError):
    """The engine cannot be reached, or was closed.

    To do: try again in a moment; see whether Triton runs at the address of `--engine` (`avizor health`, its log).
    """


class VersionNotLoaded(EngineUnavailable):
    """The engine knows the model, and has not loaded this version, or not any more: another one may have taken over.

    To do: try again, without naming a version; or load it: `avizor models load`.
    """


class EngineMismatch(EngineUnavailable):
    """The engine answers what this version cannot, or refuses what it takes: its model was changed under the name.

    To do: load that version again: `avizor models load`; see whether `--engine` is the address of a Triton, without a proxy.
    """


class DeadlineExceeded(EngineError):
    """There was no answer in time.

    To do: give more time, or send less; if the gateway is slow, see docs/limits.md.
    """


class EngineBusy(EngineError):
    """More requests wait for a model, or one waited for longer, than its config.pbtxt allows.

    To do: try again later; or raise the queue of the model in config.pbtxt (docs/targets.md).
    """


class GpuFull(EngineError):
    """The GPU has no memory left for a model, or for a run of it.

    To do: stop other programs on the GPU, use fewer `--workers`, smaller batches or fewer instances, or `--device cpu`.
    """


class GatewayFull(AvizorError):
    """The gateway has as much to do as it accepts at once. `retry_after_s`: the expected wait in seconds, None if unknown.

    To do: wait as long as the retry delay says, and try again; if it is often so, see docs/limits.md.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateExceeded(GatewayFull):
    """A token has made as many calls as it may in this time.

    To do: make fewer calls, or ask for a larger `rate=` in the file of tokens.
    """


class Unauthenticated(AvizorError):
    """A call has no token that counts, or its token was revoked while it was under way.

    To do: send `authorization: Bearer TOKEN`, with a token of the file of `--tokens`.
    """


class NotAllowed(AvizorError):
    """The token of a call may not ask for that model.

    To do: ask for a model that the token may use (`avizor call models`), or for a longer `models=` in the file of tokens.
    """


class MessageTooLarge(AvizorError):
    """A request is larger than the gateway takes. To try again would not help.

    To do: send fewer items, or smaller ones; use `avizor batch` for many; or raise `--max-message-mib`.
    """


class GatewayStopping(AvizorError):
    """The gateway is shutting down; another one, or this one later, takes the call.

    To do: try again: a client with a retry policy does so by itself.
    """


class CalibrationError(AvizorError):
    """A calibration that cannot be made from these recordings, or that cannot support a p-value.

    To do: run `avizor calibrate` with more normal recordings, or ask for a larger alpha; the message has the numbers.
    """


class NotExplainable(AvizorError):
    """An explanation cannot be computed for this model; the message says why, and what can be computed.

    To do: choose another method, or export again with what the message names.
    """


class MediaError(AvizorError):
    """A file or a stream cannot be decoded; `offset` is the first sample that could not be read.

    To do: convert the file to a format that docs/files.md lists, or record it again.
    """

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.offset = offset


class ColumnMissing(MediaError):
    """A table does not have a column that an option names, or holds something else in it.

    To do: name a column that the message lists.
    """


class DecoderEnded(AvizorError):
    """A process that decodes media ended before it answered; `by_signal` is the number of the signal that ended it, or 0.

    To do: see whether the file is damaged; if a valid one needs more, raise `--decoder-memory-mib` or `--decode-timeout-s`.
    """

    def __init__(self, message: str, by_signal: int = 0) -> None:
        super().__init__(message)
        self.by_signal = by_signal


class WorkersFailed(AvizorError):
    """The workers of a gateway do not start, or end again and again.

    To do: read the log lines before: they say why each worker ended; then start the gateway again.
    """


class DatasetError(AvizorError):
    """A dataset cannot be listed or read.

    To do: name folders, files or a store that can be read; the message has the place.
    """


class StoreUnavailable(AvizorError):
    """An object store cannot be reached, or does not know the credentials: this concerns all that is in it.

    To do: check network, endpoint and credentials (docs/object-stores.md); a batch job goes on when it is started again.
    """


class JobError(AvizorError):
    """A batch job cannot start or go on.

    To do: mend what the message names, and start the same command again: it goes on where it stopped.
    """


class ExportError(AvizorError):
    """A model cannot be exported as requested.

    To do: change the option, or the network, that the message names (docs/export.md).
    """


class FrozenBatch(ExportError):
    """The batch of a graph cannot be freed; the message names the node that keeps it, and why.

    To do: export the graph with a dynamic batch axis, or change the node that is named (docs/onnx-files.md).
    """


class GraphVersionError(ExportError):
    """A graph cannot be brought to the contract's opset and IR version; the message names what in it.

    To do: convert the file with a newer exporter or `onnx.version_converter`.
    """


class ItemsInfluenceError(ExportError):
    """A network's result for an item depends on the other items of its batch.

    To do: call `eval()` on the network, and take out what mixes items, such as a norm over the batch.
    """


class ParityError(ExportError):
    """A graph's results differ from those of its reference.

    To do: see which output differs, and by how much; the message says what to try.
    """


class UnsafeFile(ExportError):
    """A file could run code when it is loaded; the message names what in it is not a tensor, operator or size.

    To do: load the file only if you trust its author, and save it again as a state dict, `.safetensors` or ONNX.
    """
