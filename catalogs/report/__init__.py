"""A report: one HTML file that tells what a corpus is and what a recipe made of it.

    write_report(catalog, Path("report.html"), "train-1")

The file needs nothing else: pictures, charts and style are inside, no script runs and nothing is
fetched. The same catalog version gives the same file but for the date. Numbers come from the same
places as those of `funnel`, `coverage`, `dups` and the dataset card.
"""

from catalogs.report.page import Written, report_html, write_report
from catalogs.report.pictures import DrawTake

__all__ = ["DrawTake", "Written", "report_html", "write_report"]
