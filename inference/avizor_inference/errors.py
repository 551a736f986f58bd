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
    │   │   └── VersionNotLoaded   the engine has not loaded this version, or not any more
    │   ├── DeadlineExceeded       there was no answer in time
    │   └── EngineBusy             more requests wait for a model, or for longer, than its config.pbtxt allows
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

Each message says what is wrong and how to fix it. `str(error)` may be shown to the person who made the request.
"""


class AvizorError(Exception):
    """Base of every error that Avizor raises on purpose."""


class RepositoryError(AvizorError):
    """A model repository, or one model in it, cannot be used."""


class ModelNotFound(RepositoryError):
    """No model, or no version of it, has that name."""


class VersionRefused(RepositoryError):
    """A version's files do not agree with its manifest, or with each other."""


class SettingsError(AvizorError):
    """A command cannot do what its options ask for: an address, a folder, a device."""


class TokenFileError(SettingsError):
    """A file of tokens cannot be used."""


class CertificateFileError(SettingsError):
    """A file of a certificate, or of its key, cannot be used."""


class RequestError(AvizorError):
    """The caller's request is wrong; `field` names the part that is."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class InvalidInput(RequestError):
    """An input is missing, unknown, or of the wrong dtype or shape."""


class UnknownOutput(RequestError):
    """The model does not have that output."""


class BatchTooLarge(RequestError):
    """A request has more items than the model's max_batch_size."""


class SharedMemoryUnknown(RequestError):
    """A tensor of a request is in a region of shared memory that the gateway does not know."""


class AnswerTooLarge(RequestError):
    """The answer to a request would hold more than the gateway computes for a call."""


class MessageLate(RequestError):
    """The message of a call was not complete in time."""


class EngineError(AvizorError):
    """The engine failed at a valid request."""


class EngineUnavailable(EngineError):
    """The engine cannot be reached, or was closed."""


class VersionNotLoaded(EngineUnavailable):
    """The engine knows the model, and has not loaded this version, or not any more: another one may have taken over."""


class DeadlineExceeded(EngineError):
    """There was no answer in time."""


class EngineBusy(EngineError):
    """More requests wait for a model, or one waited for longer, than its config.pbtxt allows."""


class GatewayFull(AvizorError):
    """The gateway has as much to do as it accepts at once. `retry_after_s`: the expected wait in seconds, None if unknown."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateExceeded(GatewayFull):
    """A token has made as many calls as it may in this time."""


class Unauthenticated(AvizorError):
    """A call has no token that counts, or its token was revoked while it was under way."""


class NotAllowed(AvizorError):
    """The token of a call may not ask for that model."""


class MessageTooLarge(AvizorError):
    """A request is larger than the gateway takes. To try again would not help."""


class GatewayStopping(AvizorError):
    """The gateway is shutting down; another one, or this one later, takes the call."""


class CalibrationError(AvizorError):
    """A calibration that cannot be made from these recordings, or that cannot support a p-value."""


class NotExplainable(AvizorError):
    """An explanation cannot be computed for this model; the message says why, and what can be computed."""


class MediaError(AvizorError):
    """A file or a stream cannot be decoded; `offset` is the first sample that could not be read."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.offset = offset


class ColumnMissing(MediaError):
    """A table does not have a column that an option names, or holds something else in it."""


class DecoderEnded(AvizorError):
    """A process that decodes media ended before it answered; `by_signal` is the number of the signal that ended it, or 0."""

    def __init__(self, message: str, by_signal: int = 0) -> None:
        super().__init__(message)
        self.by_signal = by_signal


class WorkersFailed(AvizorError):
    """The workers of a gateway do not start, or end again and again."""


class DatasetError(AvizorError):
    """A dataset cannot be listed or read."""


class StoreUnavailable(AvizorError):
    """An object store cannot be reached, or does not know the credentials: this concerns all that is in it."""


class JobError(AvizorError):
    """A batch job cannot start or go on."""


class ExportError(AvizorError):
    """A model cannot be exported as requested."""


class FrozenBatch(ExportError):
    """The batch of a graph cannot be freed; the message names the node that keeps it, and why."""


class GraphVersionError(ExportError):
    """A graph cannot be brought to the contract's opset and IR version; the message names what in it."""


class ItemsInfluenceError(ExportError):
    """A network's result for an item depends on the other items of its batch."""


class ParityError(ExportError):
    """A graph's results differ from those of its reference."""


class UnsafeFile(ExportError):
    """A file could run code when it is loaded; the message names what in it is not a tensor, operator or size."""
