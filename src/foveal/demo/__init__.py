"""The demo clips: a minute of drawn objects, and clips in which it is known where to look.

Both are made by code, so that no video has to be shipped.
"""

from foveal.demo.clip import DemoObject, make_demo_clip
from foveal.demo.haystack import TASKS, Needle, Task, make_needle_clip, working_tasks

__all__ = [
    "TASKS",
    "DemoObject",
    "Needle",
    "Task",
    "make_demo_clip",
    "make_needle_clip",
    "working_tasks",
]
