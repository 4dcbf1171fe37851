#!/bin/bash
# Boots a kernel of Debian's with several NUMA nodes in QEMU (TCG: no hardware help needed) and runs one command in it.
#
#   guest.sh check                       say what is missing to do so, or nothing
#   guest.sh build                       fetch the kernel and make the initramfs, once
#   guest.sh run TOPOLOGY OUT CMD ARG…   TOPOLOGY: four | uneven | tiers
#
# The guest's root is this machine's /, read-only, under an overlay in memory; what is written there is gone afterwards.
# OUT appears in it as /mnt/out, writable, and keeps stdout, stderr, rc and the console. The command's exit code is ours;
# 97: the guest did not come up, 98: it took too long, 99: it went down without an exit code.
#
# KERNEL: stable (what linux-image-amd64 is: 6.1 in Debian 12), newer (the newest of the same suites: 6.12), sid (the
# newest of Debian's: 7.2).
# NUMATUI_GUEST_DIR: where kernels and initramfs are kept. BOOT_LIMIT, LIMIT: seconds. GUEST_ENV: names of variables that
# the command gets, beside PATH, HOME and LANG. NUMATUI_GUEST_MODULES is the kernel's module tree, for insmod.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
KERNEL=${KERNEL:-stable}
G=${NUMATUI_GUEST_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/numatui-guest}/$KERNEL

# The modules of the initramfs, in the order in which they depend on each other.
MODULES=(drivers/virtio/virtio_ring drivers/virtio/virtio drivers/virtio/virtio_pci_legacy_dev
  drivers/virtio/virtio_pci_modern_dev drivers/virtio/virtio_pci fs/netfs/netfs fs/fscache/fscache net/9p/9pnet
  net/9p/9pnet_virtio fs/9p/9p fs/overlayfs/overlay)

die() {
  echo "guest.sh: $2" >&2
  exit "$1"
}

check() {
  local missing=() tool
  for tool in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio gzip:gzip flock:util-linux \
    xz:xz-utils mkswap:util-linux mkfs.ext4:e2fsprogs; do
    command -v "${tool%:*}" >/dev/null || missing+=("${tool#*:}")
  done
  if [ ! -s "$G/initrd.gz" ]; then
    for tool in apt-get apt-cache dpkg; do
      command -v "$tool" >/dev/null || missing+=("$tool (for Debian's kernel)")
    done
  fi
  [ ${#missing[@]} = 0 ] || die 2 "missing: ${missing[*]}"
}

build() {
  check
  mkdir -p "$G"
  exec 9>"$G/lock"
  flock 9
  [ ! -s "$G/initrd.gz" ] || return 0
  [ -d "$G/k" ] || fetch
  local modules work number=10 module
  modules=$(modules)/kernel
  work=$(mktemp -d "$G/ird.XXXXXX")
  mkdir -p "$work"/{bin,mod,proc,sys,dev,mnt/lower,mnt/rw,newroot}
  cp "$(command -v busybox)" "$work/bin/"
  for module in "${MODULES[@]}"; do
    # A kernel has some of them built in, or no longer.
    if [ -e "$modules/$module.ko.xz" ]; then
      xz -dc "$modules/$module.ko.xz" >"$work/mod/$number-${module##*/}.ko"
    elif [ -e "$modules/$module.ko" ]; then
      cp "$modules/$module.ko" "$work/mod/$number-${module##*/}.ko"
    fi
    number=$((number + 1))
  done
  init >"$work/init"
  chmod +x "$work/init"
  (cd "$work" && find . | cpio -o -H newc --quiet | gzip -1) >"$work.gz"
  rm -rf "$work"
  cp "$(find "$G/k" -name 'vmlinuz*' -type f | head -n 1)" "$G/vmlinuz"
  mv "$work.gz" "$G/initrd.gz"
}

modules() { # the kernel's tree of modules
  local found
  for found in "$G"/k/lib/modules/* "$G"/k/usr/lib/modules/*; do
    [ ! -d "$found/kernel" ] || { echo "$found" && return; }
  done
}

# A stock kernel of Debian's, unpacked to $G/k; not the cloud kernel, which has fewer modules.
fetch() {
  local name work options=()
  if [ "$KERNEL" = sid ]; then
    sources >"$G/sources.list"
    mkdir -p "$G"/apt/lists/partial "$G"/apt/cache/archives/partial
    options=(-o "Dir::Etc::sourcelist=$G/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State=$G/apt"
      -o "Dir::State::lists=$G/apt/lists" -o "Dir::Cache=$G/apt/cache")
    apt-get "${options[@]}" -qq update >&2 || die 2 "the lists of sid could not be downloaded"
  fi
  name=$(image "${options[@]}")
  if [ -z "$name" ]; then
    apt-get "${options[@]}" -qq update >&2 || true
    name=$(image "${options[@]}")
  fi
  [ -n "$name" ] || die 2 "apt knows no kernel '$KERNEL': nothing to boot"
  work=$(mktemp -d "$G/deb.XXXXXX")
  chmod 755 "$work"
  (cd "$work" && { download "$name" "${options[@]}" ||
    { apt-get "${options[@]}" -qq update && download "$name" "${options[@]}"; }; }) >&2 ||
    die 2 "$name could not be downloaded"
  for package in "$work"/*.deb; do
    dpkg -x "$package" "$work/k"
  done
  mv "$work/k" "$G/k"
  rm -rf "$work" "$G/apt"
}

sources() { # sid of the mirror that this machine uses
  local mirror
  mirror=$(awk '/^URIs:/ {print $2; exit} $1 == "deb" {for (i = 2; i <= NF; i++) if ($i ~ /:/) {print $i; exit}}' \
    /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null)
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:-http://deb.debian.org/debian} sid main"
}

image() { # options of apt: the package with the kernel
  if [ "$KERNEL" = stable ]; then
    apt-cache depends linux-image-amd64 2>/dev/null | awk '/Depends: linux-image-[0-9]/ {print $2; exit}'
  else
    apt-cache "$@" search '^linux-image-[0-9.]+.*-amd64$' 2>/dev/null | awk '{print $1}' |
      grep -vE 'dbg|rt|cloud|unsigned' | sort -V | tail -n 1
  fi
}

download() { # package, options of apt: it, and what newer kernels keep in packages of their own
  local name=$1 version=${1#linux-image-}
  shift
  apt-get "$@" -qq download "$name"
  apt-get "$@" -qq download "linux-binary-$version" "linux-modules-$version" 2>/dev/null || true
}

init() {
  cat <<'INIT'
#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc; $B mount -t sysfs sys /sys; $B mount -t devtmpfs dev /dev
for m in /mod/*.ko; do $B insmod $m; done
$B mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=1048576 root /mnt/lower
$B mount -t tmpfs -o size=1g tmpfs /mnt/rw; $B mkdir -p /mnt/rw/up /mnt/rw/work
$B mount -t overlay -o lowerdir=/mnt/lower,upperdir=/mnt/rw/up,workdir=/mnt/rw/work overlay /newroot
for d in proc sys dev; do $B mount --move /$d /newroot/$d; done
$B mkdir -p /newroot/mnt/out
$B mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576 out /newroot/mnt/out
exec $B switch_root /newroot /mnt/out/guest-init
INIT
}

node() { # id cpu: a node of 1 GiB
  echo "-object memory-backend-ram,id=m$1,size=1G -numa node,nodeid=$1,memdev=m$1,cpus=$2"
}

distances() { # a:b:distance…
  local one a b value
  for one in "$@"; do
    IFS=: read -r a b value <<<"$one"
    echo "-numa dist,src=$a,dst=$b,val=$value"
  done
}

# uneven: a node without memory, and one without CPUs whose memory comes late and can go again, as CXL memory does.
topology() {
  case $1 in
    four) echo "-smp 4 -m 4G $(node 0 0) $(node 1 1) $(node 2 2) $(node 3 3)" \
      "$(distances 0:1:16 0:2:22 0:3:28 1:2:28 1:3:22 2:3:16)" ;;
    uneven) echo "-smp 3 -m 2G,slots=1,maxmem=4G $(node 0 0) -numa node,nodeid=1,cpus=1 $(node 2 2) -numa node,nodeid=3" \
      "-object memory-backend-ram,id=m3,size=1G -device pc-dimm,memdev=m3,node=3" \
      "$(distances 0:1:20 0:2:20 0:3:40 1:2:20 1:3:40 2:3:30)" ;;
    tiers) tiers ;;
    *) die 2 "there is no topology '$1': four, uneven or tiers" ;;
  esac
}

# Node 2 is slow memory without CPUs, as the firmware's HMAT tells.
tiers() {
  local i t latency bandwidth
  echo "-machine hmat=on -smp 2 -m 3G" \
    "-object memory-backend-ram,id=m0,size=1G -numa node,nodeid=0,memdev=m0,cpus=0,initiator=0" \
    "-object memory-backend-ram,id=m1,size=1G -numa node,nodeid=1,memdev=m1,cpus=1,initiator=1" \
    "-object memory-backend-ram,id=m2,size=1G -numa node,nodeid=2,memdev=m2,initiator=0" \
    "$(distances 0:1:21 0:2:17 1:2:28)"
  for i in 0 1; do
    for t in 0 1 2; do
      latency=$((t == 2 ? 300 : i == t ? 80 : 130)) bandwidth=$((t == 2 ? 20 : i == t ? 100 : 60))
      echo "-numa hmat-lb,initiator=$i,target=$t,hierarchy=memory,data-type=access-latency,latency=$latency" \
        "-numa hmat-lb,initiator=$i,target=$t,hierarchy=memory,data-type=access-bandwidth,bandwidth=${bandwidth}G"
    done
  done
}

# What the guest runs after the initramfs: mounts, the command, power off.
guest_init() {
  local name
  echo '#!/bin/bash'
  for name in PATH HOME ${GUEST_ENV:-}; do
    [ -z "${!name+set}" ] || printf 'export %s=%q\n' "$name" "${!name}"
  done
  printf 'export LANG=C.UTF-8 NUMATUI_GUEST_MODULES=%q\n' "$(modules)"
  cat <<'INIT'
echo up >/mnt/out/up
mount -t tmpfs tmpfs /run
mount -t cgroup2 none /sys/fs/cgroup
mount -t devpts devpts /dev/pts 2>/dev/null || { mkdir -p /dev/pts && mount -t devpts devpts /dev/pts; }
mkdir -p /dev/shm && mount -t tmpfs tmpfs /dev/shm
mkdir -p /mnt/tmp && mount --bind /tmp /mnt/tmp && mount -t tmpfs tmpfs /tmp && chmod 1777 /tmp
keep() { # a path below the outer /tmp that the command needs
  local name
  case $1 in /tmp/*) ;; *) return 0 ;; esac
  name=${1#/tmp/} && name=${name%%/*}
  [ ! -e "/mnt/tmp/$name" ] || mountpoint -q "/tmp/$name" || { mkdir -p "/tmp/$name" && mount --bind "/mnt/tmp/$name" "/tmp/$name"; }
}
INIT
  # A /tmp of its own: one with many files outside keeps systemd-tmpfiles busy for minutes.
  for name in "$PWD" "$G" ${GUEST_KEEP:-}; do
    printf 'keep %q\n' "$name"
  done
  printf 'cd %q\n' "$PWD"
  printf '( %s) >/mnt/out/stdout 2>/mnt/out/stderr\n' "$(printf '%q ' "$@")"
  cat <<'INIT'
echo $? >/mnt/out/rc.new && mv /mnt/out/rc.new /mnt/out/rc
sync
echo o >/proc/sysrq-trigger
sleep 60
INIT
}

run() {
  [ $# -ge 3 ] || die 2 "run TOPOLOGY OUT CMD ARG…"
  local nodes out started
  nodes=$(topology "$1")
  out=$(realpath "$2")
  shift 2
  build >&2
  rm -f "$out"/{up,rc,rc.new,stdout,stderr,console}
  guest_init "$@" >"$out/guest-init"
  chmod +x "$out/guest-init"
  # shellcheck disable=SC2086
  qemu-system-x86_64 -accel tcg,thread=multi -cpu max -machine q35 $nodes -nodefaults -nographic -no-reboot \
    -serial "file:$out/console" -kernel "$G/vmlinuz" -initrd "$G/initrd.gz" \
    -append "console=ttyS0 quiet panic=-1 mitigations=off memhp_default_state=offline" \
    -fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap \
    -device virtio-9p-pci,fsdev=root,mount_tag=root \
    -fsdev "local,id=out,path=$out,security_model=none" -device virtio-9p-pci,fsdev=out,mount_tag=out \
    </dev/null >"$out/qemu" 2>&1 9>&- &
  QEMU=$!
  trap 'kill -9 $QEMU 2>/dev/null || true' EXIT
  trap 'exit 130' INT TERM
  started=$SECONDS
  while kill -0 $QEMU 2>/dev/null; do
    if [ ! -e "$out/up" ] && ((SECONDS - started > ${BOOT_LIMIT:-90})); then
      failed "$out" 97 "the guest did not come up within ${BOOT_LIMIT:-90} s"
    elif ((SECONDS - started > ${LIMIT:-300})); then
      failed "$out" 98 "the guest was stopped after ${LIMIT:-300} s"
    fi
    sleep 0.2
  done
  [ -s "$out/rc" ] || failed "$out" 99 "the guest went down without an exit code"
  cat "$out/stdout"
  cat "$out/stderr" >&2
  exit "$(cat "$out/rc")"
}

failed() { # out code message: with what there is to find the reason
  local name
  for name in qemu console stdout stderr; do
    [ ! -s "$1/$name" ] || { echo "--- $name" && tail -n 25 "$1/$name" | tr -d '\r'; }
  done >&2
  die "$2" "$3 (more in $1)"
}

case ${1:-} in
  check | build | run) "$@" ;;
  *) die 2 "check | build | run TOPOLOGY OUT CMD ARG…" ;;
esac
