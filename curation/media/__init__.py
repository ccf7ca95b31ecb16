"""Trusted media: one door to every decoder, and a guard around what goes through it."""

from curation.media.decode import Backend, read_exact, read_sequential
from curation.media.errors import MediaError
from curation.media.frames import FrameBatch
from curation.media.guard import GuardedWorker, run_guarded
from curation.media.health import DecodeHealth
from curation.media.probe import AudioProbe, SourceProbe, probe
from curation.media.reader import BatchReader
from curation.media.retry import retry_other_backend
from curation.media.verify import VerifyResult, verify

__all__ = [
    "AudioProbe",
    "Backend",
    "BatchReader",
    "DecodeHealth",
    "FrameBatch",
    "GuardedWorker",
    "MediaError",
    "SourceProbe",
    "VerifyResult",
    "probe",
    "read_exact",
    "read_sequential",
    "retry_other_backend",
    "run_guarded",
    "verify",
]
