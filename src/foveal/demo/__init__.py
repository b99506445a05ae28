"""The demo clip: a minute of drawn objects, made by code, so that nothing has to be shipped."""

from foveal.demo.clip import DemoObject, make_demo_clip

__all__ = ["DemoObject", "make_demo_clip"]
