"""A datasheet: the usual questions about a dataset, answered from the catalog.

The questions follow the seven parts of "Datasheets for Datasets" (Gebru et al., 2021). What the
catalog cannot know is asked of the maker through `about`, and marked where no answer was given.
"""

from __future__ import annotations

from catalogs.facts import Facts

__all__ = ["datasheet"]


def datasheet(facts: Facts) -> str:
    """The datasheet as Markdown."""
    parts = {
        "Motivation": _motivation(facts),
        "Composition": _composition(facts),
        "Collection": _collection(facts),
        "Preprocessing": _preprocessing(facts),
        "Uses": _uses(facts),
        "Distribution": _distribution(facts),
        "Maintenance": _maintenance(facts),
    }
    text = [f"# Datasheet of {facts.title}"]
    for name, answers in parts.items():
        text.append(f"## {name}")
        text += [f"**{question}** {answer}" for question, answer in answers.items()]
    return "\n\n".join(text) + "\n"


def _told(facts: Facts, key: str) -> str:
    return facts.about.get(key) or f"The maker did not say (`about['{key}']`)."


def _motivation(facts: Facts) -> dict[str, str]:
    return {
        "Why was the dataset made?": _told(facts, "motivation"),
        "Who made it?": _told(facts, "maintainer"),
    }


def _composition(facts: Facts) -> dict[str, str]:
    kinds = ", ".join(f"{s.clips:,} {s.name}" for s in facts.kinds) or "nothing"
    splits = ", ".join(f"{s.name} {s.clips:,}" for s in facts.splits) or "none"
    captions = ", ".join(f"{n:,} {kind} ({origin})" for kind, origin, n in facts.captions)
    refused = sum(r.clips for r in facts.refusals)
    return {
        "What is an instance?": "A clip: an exact span of one source file, with measurements"
        + (" and captions." if captions else "."),
        "How many are there?": f"{facts.clips:,} clips ({kinds}), {facts.hours:,.2f} hours, from "
        f"{facts.sources:,} sources.",
        "Is it a sample of something larger?": _sample(facts),
        "Are there labels or descriptions?": captions + "." if captions else "No captions.",
        "Are there recommended splits?": f"{splits}.",
        "Is anything missing?": f"{refused:,} clips are listed in `rebuild/` only, because their "
        "licence does not permit to pass them on."
        if refused
        else "Nothing was left out for its licence.",
        "Are there errors or redundancies?": f"{facts.damaged_sources:,} sources have damaged "
        f"frames, {facts.uneven_sources:,} have uneven frame times.",
        "Could it identify people or offend?": "Nobody checked this automatically: look at the "
        "sources' collections before you use them.",
    }


def _sample(facts: Facts) -> str:
    if facts.funnel:
        return (
            f"Yes: {facts.funnel.kept_clips:,} of {facts.funnel.clips:,} clips passed the recipe "
            f"`{facts.funnel.recipe}`; the card lists its steps."
        )
    return f"Clips that satisfy `{facts.where}`." if facts.where else "No: every clip is in it."


def _collection(facts: Facts) -> dict[str, str]:
    return {
        "Where do the sources come from?": ", ".join(facts.collections)
        or "No collection was recorded; each row's `uri` names its source.",
        "Were files left out as unusable?": "; ".join(
            f"{n:,} at {stage} ({error})" for stage, error, n in facts.quarantine
        )
        or "None.",
    }


def _preprocessing(facts: Facts) -> dict[str, str]:
    versions = ", ".join(f"{k} {v}" for k, v in sorted(facts.versions.items()))
    return {
        "What was done to the sources?": "They were cut into clips by time only; no frame was "
        "changed. Spans are exact: ticks of the stream's own time base.",
        "With which software?": f"clipmill ({versions})." if versions else "clipmill.",
        "Is the raw data kept?": "Each row has the sha256 of its source and where it was.",
    }


def _uses(facts: Facts) -> dict[str, str]:
    closed = sorted({p.share.name for p in facts.licences if p.terms.commercial != "yes"})
    return {
        "What may it be used for?": "What each source's licence permits; see `license_terms`.",
        "What should it not be used for?": "Commercial use is not permitted, or not known to be, "
        f"for: {', '.join(closed)}."
        if closed
        else "No source forbids commercial use.",
    }


def _distribution(facts: Facts) -> dict[str, str]:
    names = ", ".join(f"{part.share.name} ({part.share.clips:,} clips)" for part in facts.licences)
    return {
        "Under which licences?": f"{names}." if names else "None: only a recipe is distributed."
    }


def _maintenance(facts: Facts) -> dict[str, str]:
    return {
        "Who maintains it?": _told(facts, "maintainer"),
        "Where is its home?": _told(facts, "homepage"),
        "How can a version be told from another?": f"By its catalog `{facts.catalog_id}` and "
        f"version {facts.version}, which every export repeats in its manifest.",
    }
