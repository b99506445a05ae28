"""Measure AdaFocusV2's claim on Haystack: does the policy look where the object is, and pay?

The rules below were written down before the first number was seen.

    python scripts/claim_adafocus_v2.py policy   # results/adafocus_v2/policy.json
    python scripts/claim_adafocus_v2.py exits    # results/adafocus_v2/exits.json
    python scripts/claim_adafocus_v2.py ablation # results/adafocus_v2/ablation.json

Presets. ``fine-object-v1`` (2 frames) for ``policy`` and ``ablation``, ``fine-object-8-v1``
(8 frames) for ``exits``.

Splits, for each of the seeds 0, 1, 2: the network is trained on the first samples of the split
``train`` with that seed, thresholds are solved on 1,000 of ``calibration``, figures are of 2,000
of ``test``. The recipe is ``foveal.systems.adafocus_v2.recipe.tiny``; whatever in it was tried
out was tried with seeds from 100 on.

policy. One trained network, looking at one square a frame in five ways, at the same cost: where
the policy says; at random (uniform, drawn once a frame); at the centre; at the object (the square
whose centre is nearest to the object's: the oracle). Beside them, at another cost: the glance's
own head, the mean of its probabilities over frames; and dense, sixteen squares that tile each
frame, their fused vectors joined by the maximum and read by the last head. Accuracy is that of the
last prefix. A square finds the object if their centres are at most 8 px apart (Euclidean); the
share is over all frames of *test*.
The claim holds if, for every seed, the policy's accuracy is at least 12 points above the better
of random and centre, and it finds the object in at least 60 % of the frames.

exits. Confidence is the largest probability. One set of thresholds for every r = 0.05, 0.10, ...,
3.90 (shares proportional to r^t, `foveal.sampling.budget`) is solved on *calibration*. The one
whose mean cost there is highest without exceeding 50 % of the static cost is used on *test*. Random
exits leave at the same exits in the same numbers, samples drawn at random (mean of 100 draws).
The target is met if, for every seed, the accuracy on *test* is at most 3 points below that of the
last prefix and above that of random exits. 200 samples also go through the executor with the exit
rule: exit, class and billed cost must be those computed from stored logits.

ablation. The same as ``policy`` for three trainings: as it is, without the random pass, and with
the policy's gradient let into the glance. The default must not be more than one point worse than
either, in the mean over seeds.

Cost rule: multiply-accumulates of the parts, counted from the modules at the declared shapes by
`foveal.cost.torch_counter`; the crop costs none. A sample that leaves after t of T frames costs
t/T of the static cost.
"""
