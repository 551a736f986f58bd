"""The one error tree of Avizor. It knows nothing of transports: servers map it to status codes in one table of theirs.

    AvizorError
    ├── RepositoryError            a model repository, or one model in it, cannot be used
    │   ├── ModelNotFound          no model, or no version, of that name
    │   └── VersionRefused         a version whose files do not agree with its manifest or with each other
    ├── SettingsError              what the person who starts a command asks for cannot be had: an option, an address, a folder
    │   └── TokenFileError         a file of tokens that cannot be used
    ├── RequestError               the caller's request cannot be served as it stands
    │   ├── InvalidInput           an input is missing, unknown, or of the wrong dtype or shape
    │   ├── UnknownOutput          an output that the model does not have
    │   └── BatchTooLarge          more items than the model's max_batch_size
    ├── EngineError                the engine failed at a request that was in order
    │   ├── EngineUnavailable      the engine is away, or was closed
    │   └── DeadlineExceeded       there was no answer in time
    ├── GatewayFull                as many calls are under way as the gateway takes at once
    ├── CalibrationError           a p-value that the calibration at hand cannot support
    ├── MediaError                 a file or a stream that cannot be decoded
    ├── DatasetError               a dataset that cannot be listed
    ├── JobError                   a batch job that cannot start or go on
    └── ExportError                a model that cannot be exported as asked
        └── ParityError            a graph that does not give what its reference gives

Each message says what was wrong and how to mend it; `str(error)` is fit to be shown to whoever made the request.
"""


class AvizorError(Exception):
    """Base of every error that Avizor raises on purpose."""


class RepositoryError(AvizorError):
    """A model repository, or one model in it, cannot be used."""


class ModelNotFound(RepositoryError):
    """No model, or no version of it, under that name."""


class VersionRefused(RepositoryError):
    """A version whose files do not agree with its manifest, or with each other."""


class SettingsError(AvizorError):
    """What the person who starts a command asks for cannot be had: an option, an address, a folder."""


class TokenFileError(SettingsError):
    """A file of tokens that cannot be used."""


class RequestError(AvizorError):
    """The caller's request cannot be served as it stands; `field` names the part that is wrong."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class InvalidInput(RequestError):
    """An input is missing, unknown, or of the wrong dtype or shape."""


class UnknownOutput(RequestError):
    """An output that the model does not have."""


class BatchTooLarge(RequestError):
    """More items in one request than the model's max_batch_size."""


class EngineError(AvizorError):
    """The engine failed at a request that was in order."""


class EngineUnavailable(EngineError):
    """The engine is away, or was closed."""


class DeadlineExceeded(EngineError):
    """There was no answer in time."""


class GatewayFull(AvizorError):
    """As many calls are under way as the gateway takes at once."""


class CalibrationError(AvizorError):
    """A p-value that the calibration at hand cannot support."""


class MediaError(AvizorError):
    """A file or a stream that cannot be decoded; `offset` is the first sample that could not be read."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.offset = offset


class DatasetError(AvizorError):
    """A dataset that cannot be listed."""


class JobError(AvizorError):
    """A batch job that cannot start or go on."""


class ExportError(AvizorError):
    """A model that cannot be exported as asked."""


class ParityError(ExportError):
    """A graph that does not give what its reference gives."""
