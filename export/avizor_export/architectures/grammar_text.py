"""Say what words a spec has, for a command line that does not wait for torch. spec_grammar.py reads them."""

from __future__ import annotations

GRAMMAR = """\
A spec is words, each a layer or a few:

conv<channels>[x<times>][k<kernel=3>][s<stride=1>][p<padding=kernel/2>][bn]
    convolutions, each with a relu, after batch norm if asked; the stride is
    that of the first
pool[<size=2>][s<stride=size>][p<padding=0>][ceil]
    the largest value; maxpool is the same, avgpool the mean; they overlap
    where the stride is less than the size; ceil rounds the map's size up
gap
    the mean of the whole map
lrn[<size=5>][a<alpha=1e-4>][b<beta=0.75>][k<bias=1>]
    local response normalisation, as in torch.nn.LocalResponseNorm
drop[<probability=0.5>]
    dropout
fc<width>[bn]
    a linear layer with a relu, after batch norm if asked

The last word says what the network is for:

fc<classes>
    a classifier, and these are its logits; a bare fc takes the number of labels
latent<numbers>, latentmap<channels>
    an autoencoder, with the mirror image of the words as its decoder
shuffle<times>
    super-resolution, after conv and drop only

On a signal (--length) the layers are those of one dimension. A spec that
begins with fc takes rows of numbers (--columns) as well as maps."""
