"""How well a stream decoded: damage that a decoder survives is counted, never hidden."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DecodeHealth"]


@dataclass(slots=True)
class DecodeHealth:
    """Counts over the frames that a reader was asked for."""

    frames: int = 0
    """Frames delivered."""
    decoded_frames: int = 0
    """Frames that came out of the decoder, those before the asked range included."""
    expected_frames: int = 0
    """Packets that should have given a frame."""
    missing_frames: int = 0
    """Empty places on the grid of a constant-rate stream."""
    repeated_pts: int = 0
    """Frames dropped because they claim an instant that is already taken."""
    untimed_frames: int = 0
    """Frames dropped because nothing says when they are shown."""
    corrupt_frames: int = 0
    """Frames delivered that the decoder flags as damaged."""
    decode_errors: int = 0
    """Packets that the decoder refused."""
    read_errors: int = 0
    """Times that the container broke off."""

    @property
    def undecoded_frames(self) -> int:
        """Frames that the file holds and the decoder could not give."""
        return max(0, self.expected_frames - self.frames - self.repeated_pts)

    @property
    def is_clean(self) -> bool:
        return not (
            self.missing_frames
            or self.repeated_pts
            or self.untimed_frames
            or self.corrupt_frames
            or self.decode_errors
            or self.read_errors
            or self.undecoded_frames
        )
