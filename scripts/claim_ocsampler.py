"""Measure OCSampler's claim: three frames chosen by the policy against frames chosen without one.

    python scripts/claim_ocsampler.py                # all seeds, about ten minutes on one core
    python scripts/claim_ocsampler.py --seeds 0 --reward signed_frames --out FOLDER

The rules below were written down before the first number was seen.

Task: Haystack preset ``salient-frames-v1``: 10 frames of 32 px, of which 2 show the pattern that
tells one of 8 classes; chance is 12.5 %. Negative control: ``salient-frames-control-v1``, where
all 10 frames show it and choosing cannot help.

Splits: seed s trains on samples 0 to 7999 of the split ``train`` drawn with seed s, and is judged
on samples 0 to 1999 of the split ``test`` drawn with seed s. Nothing is tuned on ``test``. Should
the recipe have to be changed, that is decided on samples 0 to 1999 of ``calibration`` with seed
100, and said here under "History".

System: ``foveal.systems.ocsampler`` with ``tiny()``, trained by its recipe ``tiny()`` under seed s:
a classifier of random sets, then, that frozen, the sampler by the policy gradient with reward 1
(confidence gain, the released default). Every clip goes through the protocol and the executor, so
the bill is that of the calls really made.

Baselines: the same trained classifier, called through the same executor, on candidates chosen by
rule, which pay nothing for a skim network they do not run: ``uniform-3`` and ``uniform-4`` take
candidates ``floor((i + 0.5) * 10 / n)``; ``random-3`` draws three without replacement from a
generator seeded by the clip's name and s; ``centre-3`` takes 3, 4, 5; ``dense-10`` takes all.
Looking at the glance alone does not apply: the skim network names no class.

Cost: multiply-accumulates of all calls, skim included, mean over the clips. ``uniform-4`` must
cost more than the system; otherwise the claim fails.

Measured: top-1 accuracy, and the salient recall: the share of a clip's two evidence frames that
are among the frames classified, mean over clips.

The claim holds if, on every one of the seeds 0, 1 and 2, accuracy is at least that of
``uniform-4`` plus 15 points, salient recall is at least 80 %, and ``uniform-4`` costs more. The
control holds if, on every seed, accuracy differs from ``uniform-3`` by less than 2 points and
training ends with a finite loss.

With the three seeds, reward 2 (signed confidence of each frame) is measured beside it; the claim
does not rest on it. Seed 0 is exported; the bundle, run without PyTorch, is compared with
the network clip by clip.
"""
