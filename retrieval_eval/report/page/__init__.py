"""The page of a finished sweep: one HTML file with all that a reader asks for."""

from retrieval_eval.report.page.document import Section, assemble
from retrieval_eval.report.page.pages import page_html, write_changes_page, write_page

__all__ = ["Section", "assemble", "page_html", "write_changes_page", "write_page"]
