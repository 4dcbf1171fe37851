"""Recordings: machines as they were, sample by sample, in the layout of hwloc-gather-topology with later samples beside
it.

    NAME/proc/…, NAME/sys/…                 the first sample, whole: what hwloc (`lstopo --input`) and numastat read
    NAME/numatui/manifest.json              what it is (`manifest`) NAME/numatui/samples/000001/files/…     the files
    that were not as in the sample before NAME/numatui/samples/000001/sample.json when it was, and which paths had gone;
    written last, so that what has none is not whole and is left out

A folder, a .tar, or a .tar.gz. Recordings from elsewhere have no numatui/ and one sample.
"""
