# The names of the face, each from its home. `avizor_pipeline/__init__.py` loads them when they are used.

from .job import run_job as run_job
from .job_outcome import Outcome as Outcome
from .plan import Plan as Plan
from .plan import plan_job as plan_job
from .request import JobRequest as JobRequest
from .runners.local import LocalRunner as LocalRunner
from .settings import JobSettings as JobSettings
from .sinks.output_files import output_path as output_path
from .sinks.part_files import TABLES as TABLES
from .sinks.part_files import Commit as Commit
from .sinks.part_files import SourceCount as SourceCount
