"""Measure ResKD's claim on Haystack: does a teacher give back what small pictures lose?

The rules below were written down before the first number was seen.

    python scripts/claim_reskd.py            # results/reskd/distillation.json, results/reskd/tiny.foveal
    python scripts/claim_reskd.py --card     # the card's figures from that file, nothing measured

Preset ``resolution-v1``: 4 frames of 64 px, eight gratings that drift. Student and teacher are the
same network (``foveal.systems.reskd.protocol.tiny``); the student sees 32 px.

Splits, for each of the seeds 0, 1, 2: 500 clips of ``train``, 1,000 of ``calibration``, 2,000 of
``test``, all with that seed. The recipe is ``foveal.systems.reskd.recipe.tiny``; whatever in it
was tried out was tried with seeds from 100 on. Its teacher stage runs once a seed; every student
starts from the same fresh weights and sees the same batches in the same order, so that they differ
in what they are taught by and in nothing else. The teacher normalises by the batch while it
teaches, as in the paper, and is evaluated as its own stage left it.

Compared, all at 32 px and so at the same multiply-accumulates:
- ``teacher_small``: the teacher, shown small pictures;
- ``student_alone``: the student, trained on labels;
- ``distilled``: the student, taught with weight 1, 10 or 100 (the paper's). Which of the three is
  *the* distilled student is decided on ``calibration``: the best mean accuracy over the seeds, ties
  to the smaller. All three are reported.
Beside them: ``teacher_full``, the teacher at 64 px, the upper bound at about four times the cost;
and ``teacher_one_frame``, the teacher at 64 px on the middle of the clip alone, another way to
spend a quarter. The latter is no part of the claim: every frame of this preset shows the class.

The claim holds if, on ``test``, for every seed the teacher at 32 px is below the student alone and
the distilled student at least 3 points above it, if in the mean over seeds it is at least 5 points
above it, and if it costs at most 27 % of the teacher at 64 px.

Every accuracy is of answers that came through protocol and executor, from frames in memory; the
small canvas is rendered there. Cost rule: the mean bill of the test clips, multiply-accumulates
counted from the exported graph. Rendering is not among them.

Bundle: the distilled student of seed 0, weights as float16. The light install (ONNX Runtime, no
PyTorch) answers the same test clips; how often its best class differs, and by how much the
probabilities do, is reported.
"""
