"""Recordings of a machine, sample by sample, in the layout of hwloc-gather-topology. Later samples lie beside the
first.

    NAME/proc/…, NAME/sys/…                      the first sample, whole: hwloc (`lstopo --input`) and numastat read it
    NAME/numatui/manifest.json                   describes the recording (`manifest`)
    NAME/numatui/samples/000001/files/…          the files that differ from the sample before
    NAME/numatui/samples/000001/sample.json      the time of the sample and the paths that vanished; written last,
                                                 so a sample without it is incomplete and is ignored

A recording is a folder, a .tar or a .tar.gz. Recordings by other tools have no numatui/ and one sample."""
