"""The build report: one self-contained HTML page."""

from edgec.prove.report.model import (
    ReportArtifact,
    ReportData,
    ReportDisk,
    ReportFile,
    ReportMemory,
    ReportMemoryItem,
    ReportSource,
    ReportSpeed,
)
from edgec.prove.report.render import render_report

__all__ = [
    "ReportArtifact",
    "ReportData",
    "ReportDisk",
    "ReportFile",
    "ReportMemory",
    "ReportMemoryItem",
    "ReportSource",
    "ReportSpeed",
    "render_report",
]
