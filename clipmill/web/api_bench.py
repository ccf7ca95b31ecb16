"""The recipe bench: what a changed gate keeps, gains and loses."""

from __future__ import annotations

from fastapi import APIRouter

__all__ = ["router"]

router = APIRouter(prefix="/api")
