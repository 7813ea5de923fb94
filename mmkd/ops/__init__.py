"""Pure functions on tensors: the formulas of the losses, without registry or modules.

Every module uses the same letters in its shapes:

======= ===========================================================================
``B``   batch: samples, that is images
``C``   channels of a feature, or classes of logits; ``C'`` those of the other network
``H W`` rows and columns of a map; ``H' W'`` those of another map; ``h w`` of a target grid
``N M`` tokens: queries and keys of an attention, in raster order
``D``   channels of a token
``n``   nodes of a graph, ``n = h w``
``m``   size of a matrix that is decomposed
``k``   eigenvalues or eigenpairs
``K``   channels of a scan, ``K = G c``; scores of one location of a detector
``G c`` groups of a scan and channels of one group
``S``   states of one channel of a scan
``L``   positions of a scan, ``L = H W``
======= ===========================================================================

The scan keeps the paper's names for its inputs: the tensors ``A``, ``B``, ``C``, ``D`` and the step
size ``delta``. In a shape ``B`` is always the batch.
"""
