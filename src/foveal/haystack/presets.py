"""Every Haystack task, as a table, and which claim needs it.

A row never changes once it is listed: another number is another version under another name.
Where a sheet's line says "target", nobody had measured it when the row was written.
"""

from __future__ import annotations

from difflib import get_close_matches

from foveal.haystack.preset import FeatureView, Preset
from foveal.types import FovealError


class PresetError(FovealError):
    """No preset has that name."""

    kind = "no_such_preset"


_TWO_NETS = (
    FeatureView(name="preview", size=16, noise=0.35),
    FeatureView(name="recognizer", size=32, noise=0.25),
)

PRESETS: tuple[Preset, ...] = (
    # --- which frames ---
    Preset(
        name="salient-frames-v1",
        serves=("ocsampler 9: 10 frames, 2 salient, 8 classes",),
        frames=10,
        size=32,
        classes=(("pattern", 8),),
        evidence=(2, 2),
        object_px=20,
        views=_TWO_NETS,
    ),
    Preset(
        name="salient-frames-control-v1",
        serves=("ocsampler 10: evidence in every frame, so that choosing gains nothing",),
        frames=10,
        size=32,
        classes=(("pattern", 8),),
        object_px=20,
        views=_TWO_NETS,
    ),
    Preset(
        name="salient-tokens-v1",
        serves=("stts 10: 8 frames of 48 px, 2 carry the pattern, 6 classes",),
        frames=8,
        size=48,
        classes=(("pattern", 6),),
        evidence=(2, 2),
        object_px=30,
        cell_px=6,
    ),
    Preset(
        name="distractor-frames-v1",
        serves=(
            "nsnet 7, 8, 10: 16 frames, 2-4 salient, 1-3 of another class, 10 classes",
            "tsqnet 7, 8, 9: the same, and 20 objects that a detector names",
        ),
        frames=16,
        size=24,
        classes=(("pattern", 10),),
        evidence=(2, 4),
        object_px=16,
        distractors=(1, 3),
        distractor_contrast=0.6,
        views=_TWO_NETS,
        num_objects=20,
    ),
    Preset(
        name="distractor-frames-control-v1",
        serves=("nsnet 7: the same without distractors",),
        frames=16,
        size=24,
        classes=(("pattern", 10),),
        evidence=(2, 4),
        object_px=16,
        views=_TWO_NETS,
        num_objects=20,
    ),
    Preset(
        name="informative-clips-v1",
        serves=("confidence_distillation 7, 8: 12 clips of 4 frames, 10-80 % informative",),
        frames=48,
        size=16,
        classes=(("pattern", 10),),
        evidence=(1, 10),
        group_frames=4,
        object_px=12,
        cell_px=3,
        contrast=(30.0, 60.0),
        views=(
            FeatureView(name="teacher", size=24, noise=0.28),
            FeatureView(name="student", size=12, noise=0.33),
        ),
    ),
    Preset(
        name="informative-clips-control-v1",
        serves=("confidence_distillation 10: every clip is informative",),
        frames=48,
        size=16,
        classes=(("pattern", 10),),
        group_frames=4,
        object_px=12,
        cell_px=3,
        contrast=(30.0, 60.0),
        views=(
            FeatureView(name="teacher", size=24, noise=0.28),
            FeatureView(name="student", size=12, noise=0.33),
        ),
    ),
    Preset(
        name="misleading-clips-v1",
        serves=("confidence_distillation, pitfall 1: clips on which a teacher is surely wrong",),
        frames=48,
        size=16,
        classes=(("pattern", 10),),
        evidence=(3, 6),
        group_frames=4,
        object_px=12,
        cell_px=3,
        contrast=(30.0, 60.0),
        distractors=(1, 3),
        distractor_contrast=0.6,
        views=(
            FeatureView(name="teacher", size=24, noise=0.28),
            FeatureView(name="student", size=12, noise=0.33),
        ),
    ),
    Preset(
        name="repeats-v1",
        serves=("taxonomy 6: every picture stands four times, bit for bit",),
        frames=32,
        size=32,
        classes=(("pattern", 8),),
        evidence=(2, 2),
        repeat=4,
        object_px=20,
    ),
    # --- which region ---
    Preset(
        name="fine-object-v1",
        serves=(
            "adafocus_v2 9: 64 px, T = 2, a 16-px object with a broad blob and a fine code",
            "adafocus_v2 10: the same, for its ablations (target)",
            "adafocus_v3 9: the same, for its position gradients",
        ),
        frames=2,
        size=64,
        classes=(("grating", 8),),
        object_px=16,
        periods_px=(4.0,),
        blob=45.0,
        leak=8.0,
    ),
    Preset(
        name="fine-object-8-v1",
        serves=("adafocus_v2 9: exits (target), which need T >= 8; some frames say little",),
        frames=8,
        size=64,
        classes=(("grating", 8),),
        object_px=16,
        periods_px=(4.0,),
        contrast=(15.0, 60.0),
        blob=45.0,
        leak=5.0,
    ),
    Preset(
        name="fine-rare-v1",
        serves=("adafocus_v3 10: the object is in 25 % of the candidate frames (target)",),
        frames=8,
        size=64,
        classes=(("grating", 8),),
        evidence=(2, 2),
        object_px=16,
        periods_px=(4.0,),
        blob=45.0,
        leak=8.0,
    ),
    Preset(
        name="fine-image-v1",
        serves=("gfnet 9: 48-px images, object anywhere, code only at full resolution",),
        frames=1,
        size=48,
        classes=(("grating", 8),),
        object_px=16,
        periods_px=(4.0,),
        blob=45.0,
        blob_px=6.0,
        leak=8.0,
    ),
    Preset(
        name="fine-moving-v1",
        serves=("gfnet 10: clips whose evidence is one small moving region (target)",),
        frames=8,
        size=48,
        classes=(("grating", 8),),
        object_px=16,
        place="drift",
        periods_px=(4.0,),
        blob=45.0,
        blob_px=6.0,
        leak=4.0,
    ),
    Preset(
        name="moving-patch-v1",
        serves=("astfocus 8, 9: 8 frames of 24 px, one moving 8-px patch in 5 of them",),
        frames=8,
        size=24,
        classes=(("pattern", 8),),
        evidence=(5, 5),
        object_px=8,
        place="drift",
        cell_px=2,
    ),
    Preset(
        name="moving-patch-rare-v1",
        serves=("astfocus, published results: the same in 3 of 8 frames",),
        frames=8,
        size=24,
        classes=(("pattern", 8),),
        evidence=(3, 3),
        object_px=8,
        place="drift",
        cell_px=2,
    ),
    # --- at which resolution ---
    Preset(
        name="resolution-v1",
        serves=("reskd 10: orientation x period of a small drifting grating on noise, 64/32 px",),
        frames=4,
        size=64,
        classes=(("grating", 8),),
        object_px=20,
        place="drift",
        periods_px=(4.5, 9.0),
        contrast=(22.0, 36.0),
        noise=25.0,
    ),
    Preset(
        name="prototype-image-v1",
        serves=("mutualnet 9: 8 noisy 20-px prototypes on 32-px images",),
        frames=1,
        size=32,
        classes=(("pattern", 8),),
        object_px=20,
        contrast=(40.0, 60.0),
        noise=25.0,
    ),
    Preset(
        name="textures-v1",
        serves=("dreal 7, 8: 8 textures of 16 px with nuisance patches",),
        frames=1,
        size=16,
        classes=(("grating", 8),),
        object_px=16,
        periods_px=(4.0, 8.0),
        contrast=(20.0, 32.0),
        noise=25.0,
        nuisance=3,
    ),
    # --- how it moves ---
    Preset(
        name="motion-direction-v1",
        serves=("mutualnet 10: 8 x 32 px, one frame says nothing, two tell the heading (target)",),
        frames=8,
        size=32,
        classes=(("direction", 8),),
        object_px=12,
    ),
    Preset(
        name="moving-shape-v1",
        serves=("bqn 10: four shapes on static texture, one moves; 4 segments x 3 frames, 32 px",),
        frames=12,
        size=32,
        classes=(("mover", 4),),
        object_px=10,
        noise=10.0,
        texture=15.0,
    ),
    Preset(
        name="relation-v1",
        serves=("ean 11: two small objects on clutter; 4 segments x 5 frames, 64 px (not tried)",),
        frames=20,
        size=64,
        classes=(("relation", 4),),
        object_px=10,
        speed_px=6.0,
        texture=15.0,
        nuisance=4,
    ),
    Preset(
        name="untrimmed-actions-v1",
        serves=("basictad 11: shapes move in a class-specific way for 0.5-8 s (not tried)",),
        frames=144,
        size=32,
        fps=6,
        classes=(("axis", 3),),
        actions=(1, 3),
        action_frames=(3, 48),
        object_px=10,
    ),
    Preset(
        name="trimmed-actions-v1",
        serves=("basictad 11: the same as single trimmed clips, to pre-train a backbone",),
        frames=16,
        size=32,
        fps=6,
        classes=(("axis", 3),),
        object_px=10,
    ),
    # --- which sense, which words, which classes ---
    Preset(
        name="modalities-v1",
        serves=("hcms 6, 8, 9: 10 classes, told by sound (4), appearance (3) or motion (3)",),
        frames=8,
        size=32,
        classes=(("tone", 4), ("pattern", 3), ("axis", 3)),
        evidence=(4, 8),
        object_px=14,
        sound_rate=8000,
        views=(
            FeatureView(name="sound", size=8, noise=0.3, carries=("sound",)),
            FeatureView(name="appearance", size=16, noise=0.3, carries=("picture",)),
            FeatureView(name="motion", size=16, noise=0.3, carries=("motion",)),
        ),
    ),
    Preset(
        name="long-tail-v1",
        serves=(
            "vlg 6, 7: 20 classes, 100 times more of the first, 40 sentences, 40 % relevant",
            "vlg 8: 8 more classes that only the test split holds",
        ),
        frames=8,
        size=32,
        classes=(("shape", 28),),
        unseen=8,
        test_classes="all",
        tail=100.0,
        evidence=(4, 8),
        object_px=16,
        contrast=(30.0, 60.0),
        sentences=40,
        relevant=0.4,
        views=(FeatureView(name="video", size=64, noise=0.25),),
    ),
    Preset(
        name="few-shot-v1",
        serves=("fewshot_sampler 8, 10: 4 salient of 16 frames, 40 classes to learn, 20 novel",),
        frames=16,
        size=48,
        classes=(("pattern", 60),),
        unseen=20,
        test_classes="unseen",
        evidence=(4, 4),
        object_px=30,
        cell_px=6,
        views=(FeatureView(name="scan", size=32, noise=0.3),),
    ),
    Preset(
        name="few-shot-small-v1",
        serves=("fewshot_sampler 9: the same with an object of 5 % of the frame",),
        frames=16,
        size=96,
        classes=(("pattern", 60),),
        unseen=20,
        test_classes="unseen",
        evidence=(4, 4),
        object_px=22,
        cell_px=4,
        blob=30.0,
    ),
    # --- everything at once ---
    Preset(
        name="common-v1",
        serves=("taxonomy 5: one benchmark for all systems that save at inference",),
        frames=16,
        size=64,
        classes=(("grating", 8),),
        evidence=(3, 5),
        object_px=16,
        place="drift",
        periods_px=(4.0,),
        contrast=(30.0, 60.0),
        blob=45.0,
        leak=8.0,
        distractors=(1, 2),
        distractor_contrast=0.6,
        views=_TWO_NETS,
        sound_rate=8000,
    ),
)


def find(name: str) -> Preset:
    """Return the preset called ``name``.

    Raises:
        PresetError: there is none.
    """
    for preset in PRESETS:
        if preset.name == name:
            return preset
    names = [preset.name for preset in PRESETS]
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
    raise PresetError(f"no Haystack preset is called {name!r}", hint=hint)
