"""Measure the embedded tagger: which policy, which threshold, what it saves.

The rules below were written down before the first number was seen.

Data (``--data`` or ``FOVEAL_DATA``). Groups: ``clips`` (all files), ``weizmann``,
``skateboard``, ``ceiling_tad``, and ``mixed``: long videos written by this script with seed 0
from pieces (2 to 10 s each, whole file if shorter, 60 to 90 s in all) of ``clips``,
``weizmann`` and ``skateboard``, encoded as H.264 at 320x240 with a keyframe every 250 frames.
A file belongs to the *tune* half if the first byte of the SHA-256 of its name (folder and file
name below the data folder) is even, else to the *test* half; a mixed video uses files of one
half only and belongs to it. Settings are chosen on *tune*; figures are reported on *test*.

Dense: 16 frames at the centres of 16 equal parts of the file, each through the network at 224.

Agreement. A dense frame is *sure* if its top-1 probability is at least 0.3. The agreement of a
policy on a file is the share of the file's sure dense frames whose dense label equals the label
that the policy gives to that time (the label of its segment there, whether or not it passes
the threshold). Files without a sure frame are left out. A group's figure is the mean over its
files; the figure is the mean over groups.

Cost: multiply-accumulates of all calls, averaged over the same files and then over groups.

uniform-k: frames ``floor((i + 0.5) * 16 / k)``, i = 0..k-1, of the 16 dense frames go through
the same network; every time gets the label of the nearest of them (ties to the earlier). At
a mean cost between two values of k the agreement is interpolated linearly.

Choice: among the candidate settings whose mean cost on *tune* is at most 0.6 of dense, the
policy whose agreement exceeds uniform-k at the same mean cost by most. If on *test* the chosen
setting does not exceed uniform-k at equal mean cost, the tagger ships uniform-k.

Threshold. People acting (``weizmann``, ``skateboard``) are taken to show nothing the tagger
knows, so every tag there counts as false, even the few that are right. The threshold is the
smallest multiple of 0.01 at which at most 5 % of the answered segments of the *tune* half of
these two groups pass, the mean of the two groups' rates. Reported on *test*: the rate of false
segments, and the share of true tags kept: on the demo clip and on a committed list of
(file, right tags) made by eye for ``clips``, the share of sure dense frames with a right
top-1 tag whose probability reaches the threshold.
"""
