#!/usr/bin/env bash
# Runs a static Linux program on an emulated CPU that has AVX-512, and ends with its status. Bochs emulates a whole
# computer, which boots a kernel of Debian's with the program in place of an init. Arguments: the program and its
# arguments; ONNX_FFT_ISA is passed on. Needs what scripts/setup/emulators.sh installs, and a minute to boot.
set -euo pipefail

program="$(realpath "$1")"
shift
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
cd "$(dirname "$0")/../.."

kernel=.cache/bochs/vmlinuz
if [ ! -f "$kernel" ]; then
  package="$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')"
  (cd "$scratch" && apt-get download --quiet "$package" >/dev/null 2>&1 && dpkg-deb --extract ./*.deb kernel)
  mkdir -p .cache/bochs
  cp "$scratch"/kernel/boot/vmlinuz-* "$kernel"
fi

mkdir -p "$scratch"/root/{bin,proc,dev} "$scratch/iso/boot/grub"
cp /bin/busybox "$scratch/root/bin/"
ln -s busybox "$scratch/root/bin/sh"
cp "$program" "$scratch/root/program"
cat >"$scratch/root/init" <<END
#!/bin/sh
busybox mount -t proc proc /proc
export ONNX_FFT_ISA=${ONNX_FFT_ISA:-}
/program $*
echo "status \$?"
busybox sleep 2 # until the line is through
busybox poweroff -f
END
chmod +x "$scratch/root/init"
(cd "$scratch/root" && find . | cpio --create --format=newc --quiet | gzip -1) >"$scratch/iso/boot/initrd.gz"
cp "$kernel" "$scratch/iso/boot/vmlinuz"
# Bochs (2.7) states a wrong size for the compacted form of XSAVE, at which the kernel would do without AVX.
cat >"$scratch/iso/boot/grub/grub.cfg" <<'END'
set timeout=0
menuentry linux {
  linux /boot/vmlinuz console=ttyS0 quiet clearcpuid=xsaves,xsavec mitigations=off tsc=reliable no_timer_check lpj=1000000
  initrd /boot/initrd.gz
}
END
grub-mkrescue --output="$scratch/boot.iso" "$scratch/iso" 2>/dev/null
cat >"$scratch/bochsrc" <<END
megs: 1024
cpu: model=corei7_skylake_x, count=1, ips=100000000, ignore_bad_msrs=1
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path=$scratch/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$scratch/serial
display_library: term
log: $scratch/bochs.log
panic: action=fatal
error: action=ignore
END
echo continue >"$scratch/commands"
# Its screen wants a terminal.
TERM=vt100 script --quiet --return --command "bochs -q -f $scratch/bochsrc -rc $scratch/commands" /dev/null \
  >"$scratch/screen" </dev/null || true
tr -d '\r' <"$scratch/serial" >"$scratch/lines"
sed -n '/^\[/d; /^status /d; p' "$scratch/lines" | sed '/\x1b/d; /^$/d'
status="$(sed -n 's/^status //p' "$scratch/lines")"
exit "${status:-1}"
