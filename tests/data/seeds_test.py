import hashlib

from mmrec_jax.data.seeds import hashed_seed


def test_a_seed_is_the_beginning_of_a_hash():
    digest = hashlib.sha256(b"rows -3").hexdigest()
    assert hashed_seed("rows", -3) == int(digest[:16], 16)


def test_neighbours_have_other_seeds():
    seeds = {hashed_seed("a", i, j) for i in range(20) for j in range(20)}
    assert len(seeds) == 400
    assert len({seed >> 56 for seed in seeds}) > 150  # of 256: spread over the whole range
