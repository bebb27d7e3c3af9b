/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The disk: a virtio-mmio block device, version 1 of the specification, on an
 * image of any format that we know (src/disk).
 *
 * One VMM at a time has the image open: who saves the state lets go of it, who
 * loads the state takes it, and the image's lock says so to everybody.
 *
 * A notify is served to its end in the vCPU's thread, so no request is ever in
 * flight when the VM is paused, and the device's state is its registers. What
 * the device stores into guest memory - data, status, the used ring - is not
 * seen by KVM's dirty log: each store is followed by a software mark.
 *
 * The guest is not trusted: every address goes through the slot map, lengths
 * and chains are bounded, and a broken queue sets DEVICE_NEEDS_RESET.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "../../guest/virtio.h"
#include "base/atomic.h"
#include "disk/disk.h"
#include "vm/internal.h"

#define SECTOR 512u
#define NEEDS_RESET 64u
#define MAX_IO_BYTES (1u << 20)
#define TRIES 100
#define NAP_NS 20000000

static int open_image(const struct vm *vm, bool writable,
		      struct tide_disk **out, struct tide_error *err)
{
	const struct tide_disk_options options = {
		.format = vm->config.disk_format,
		.trusted_folder = vm->config.disk_folder,
		.writable = writable,
		.no_lock = !writable,
	};

	return tide_disk_open(vm->config.disk_path, &options, out, err);
}

int vm__disk_know(struct vm *vm, struct tide_error *err)
{
	struct tide_disk *image;
	uint64_t bytes;
	int ret;

	if (!vm->config.disk_path)
		return 0;
	ret = open_image(vm, false, &image, err);
	if (ret)
		return ret;
	bytes = tide_disk_size(image);
	tide_disk_close(image, NULL);
	if (bytes < GUEST_PAGE_BYTES)
		return tide_error_set(err, -EINVAL, "disk", TIDE_NO_OFFSET,
				      "%s is smaller than one block of 4 KiB",
				      vm->config.disk_path);
	vm->disk.bytes = bytes;
	return 0;
}

/* Who hands a guest over, or has failed to take it, lets go in a moment. */
static int open_patiently(const struct vm *vm, struct tide_disk **out,
			  struct tide_error *err)
{
	const struct timespec nap = { .tv_nsec = NAP_NS };
	int ret = open_image(vm, true, out, err);

	for (int i = 0; ret == -EBUSY && i < TRIES; i++) {
		nanosleep(&nap, NULL);
		ret = open_image(vm, true, out, err);
	}
	return ret;
}

int vm__disk_take(struct vm *vm, struct tide_error *err)
{
	struct vm_disk *disk = &vm->disk;
	struct tide_disk *image;
	int ret;

	if (!disk->bytes || disk->image)
		return 0;
	ret = open_patiently(vm, &image, err);
	if (ret)
		return ret;
	if (tide_disk_size(image) != disk->bytes) {
		tide_disk_close(image, NULL);
		return tide_error_set(err, -EINVAL, "disk", TIDE_NO_OFFSET,
				      "%s is not as long as it was",
				      vm->config.disk_path);
	}
	pthread_mutex_lock(&disk->lock);
	disk->image = image;
	pthread_mutex_unlock(&disk->lock);
	return 0;
}

int vm__disk_leave(struct vm *vm, struct tide_error *err)
{
	struct tide_disk *image;

	pthread_mutex_lock(&vm->disk.lock);
	image = vm->disk.image;
	vm->disk.image = NULL;
	pthread_mutex_unlock(&vm->disk.lock);
	return tide_disk_close(image, err);
}

/*
 * Guest memory [gpa, +len) if it lies in one slot, else NULL. The VMM's own
 * page steers threads of the host where they play the guest: never by DMA.
 */
static void *guest_at(struct vm *vm, uint64_t gpa, uint64_t len)
{
	struct tide_slot_piece piece;
	uint64_t covered;

	vm__addresses_note(vm, "dma", gpa, len);
	if (tide_slots_split(vm->slots, gpa, len, &piece, 1, &covered) != 1 ||
	    covered != len || vm__is_control(gpa, len))
		return NULL;
	return piece.host;
}

/* A part of the queue, which has to be aligned: else it is not atomic. */
static void *ring_at(struct vm *vm, uint64_t gpa, uint64_t len,
		     uint64_t alignment)
{
	return gpa % alignment ? NULL : guest_at(vm, gpa, len);
}

static uint8_t do_io(struct vm *vm, const struct virtio_blk_header *header,
		     const struct virtq_desc *data)
{
	struct vm_disk *disk = &vm->disk;
	bool out = header->type == VIRTIO_BLK_OUT;
	uint64_t at = header->sector * SECTOR;
	void *buffer;
	int ret;

	if (!disk->image)
		return VIRTIO_BLK_IOERR;
	if (header->type == VIRTIO_BLK_FLUSH)
		return tide_disk_flush(disk->image, NULL) ? VIRTIO_BLK_IOERR
							  : VIRTIO_BLK_OK;
	if (!out && header->type != VIRTIO_BLK_IN)
		return VIRTIO_BLK_UNSUPP;
	if (!out != !!(data->flags & VIRTQ_WRITE) || data->len > MAX_IO_BYTES ||
	    header->sector > disk->bytes / SECTOR ||
	    data->len > disk->bytes - at)
		return VIRTIO_BLK_IOERR;
	buffer = guest_at(vm, data->addr, data->len);
	if (!buffer)
		return VIRTIO_BLK_IOERR;
	ret = out ? tide_disk_write(disk->image, at, buffer, data->len, NULL)
		 : tide_disk_read(disk->image, at, buffer, data->len, NULL);
	if (!out)
		vm__mark(vm, data->addr, data->len);	/* even if it failed */
	return ret ? VIRTIO_BLK_IOERR : VIRTIO_BLK_OK;
}

/* Descriptor @index of the queue, if it is a sane one. */
static bool get_desc(struct vm *vm, uint16_t index, struct virtq_desc *desc)
{
	const struct virtq_desc *table;

	if (index >= vm->disk.queue_num)
		return false;
	table = ring_at(vm, vm->disk.desc + index * sizeof(*desc),
			sizeof(*desc), sizeof(*desc));
	if (table)
		*desc = *table;
	return table != NULL;
}

/* header, data, status: the three parts of a request. */
static bool serve(struct vm *vm, uint16_t head)
{
	struct virtq_desc desc[3];
	struct virtio_blk_header copy;	/* the guest may change its own */
	uint8_t *status, result;
	const void *header;

	for (unsigned int i = 0; i < 3; i++) {
		if (!get_desc(vm, head, &desc[i]))
			return false;
		if (!(desc[i].flags & VIRTQ_NEXT) != (i == 2))
			return false;
		head = desc[i].next;
	}
	header = guest_at(vm, desc[0].addr, sizeof(copy));
	status = guest_at(vm, desc[2].addr, 1);
	if (!header || !status || desc[0].len < sizeof(copy) ||
	    !desc[2].len || !(desc[2].flags & VIRTQ_WRITE))
		return false;
	memcpy(&copy, header, sizeof(copy));
	result = do_io(vm, &copy, &desc[1]);
	*status = result;
	vm__mark(vm, desc[2].addr, 1);
	return true;
}

static void complete(struct vm *vm, struct virtq_used *used, uint16_t head)
{
	uint16_t index = used->idx;

	used->ring[index % vm->disk.queue_num].id = head;
	used->ring[index % vm->disk.queue_num].len = 0;
	/* Pairs with the driver's acquire: data, status and ring come first. */
	tide__store_release(&used->idx, (uint16_t)(index + 1));
	vm__mark(vm, vm->disk.device, sizeof(*used));
}

/*
 * With memory held: what guest_at gives stays where it is. What another vCPU
 * adds meanwhile has a notify of its own; so this one ends, and a pause too.
 */
static void serve_queue(struct vm *vm)
{
	struct vm_disk *disk = &vm->disk;
	struct virtq_avail *avail = ring_at(vm, disk->driver, sizeof(*avail),
					    2);
	struct virtq_used *used = ring_at(vm, disk->device, sizeof(*used), 4);
	uint16_t end;

	if (!disk->queue_ready || !disk->bytes)
		return;
	if (!avail || !used) {
		disk->status |= NEEDS_RESET;
		return;
	}
	/* Pairs with the driver's release of the index. */
	end = tide__load_acquire(&avail->idx);
	if ((uint16_t)(end - disk->last_avail) > disk->queue_num) {
		disk->status |= NEEDS_RESET;	/* more than a ring can hold */
		return;
	}
	while ((uint16_t)disk->last_avail != end) {
		uint16_t head = avail->ring[(uint16_t)disk->last_avail %
					    disk->queue_num];

		if (!serve(vm, head)) {
			disk->status |= NEEDS_RESET;
			return;
		}
		disk->last_avail = (uint16_t)(disk->last_avail + 1);
		complete(vm, used, head);
	}
}

static void reset(struct vm_disk *disk)
{
	disk->status = disk->features_sel = disk->driver_features_sel = 0;
	disk->queue_num = VIRTIO_QUEUE_SIZE;
	disk->queue_ready = disk->last_avail = 0;
	disk->driver_features = disk->desc = disk->driver = disk->device = 0;
}

static void set_half(uint64_t *to, uint32_t offset, uint32_t value)
{
	unsigned int shift = offset & 4 ? 32 : 0;

	*to = (*to & ~(UINT64_C(0xffffffff) << shift)) |
	      (uint64_t)value << shift;
}

static uint32_t read_register(const struct vm_disk *disk, uint32_t offset)
{
	uint64_t sectors = disk->bytes / SECTOR;

	switch (offset) {
	case VIRTIO_MAGIC:
		return VIRTIO_MAGIC_VALUE;
	case VIRTIO_VERSION:
		return 2;
	case VIRTIO_DEVICE_ID:
		return disk->bytes ? 2 : 0;	/* 0: nothing here */
	case VIRTIO_DEVICE_FEATURES:
		return disk->features_sel == 1;	/* bit 32: VERSION_1 */
	case VIRTIO_QUEUE_NUM_MAX:
		return VIRTIO_QUEUE_SIZE;
	case VIRTIO_QUEUE_READY:
		return disk->queue_ready;
	case VIRTIO_STATUS:
		return disk->status;
	case VIRTIO_CONFIG:
		return (uint32_t)sectors;
	case VIRTIO_CONFIG + 4:
		return (uint32_t)(sectors >> 32);
	default:
		return 0;
	}
}

static void write_register(struct vm *vm, uint32_t offset, uint32_t value)
{
	struct vm_disk *disk = &vm->disk;

	switch (offset) {
	case VIRTIO_DEVICE_FEATURES_SEL:
		disk->features_sel = value;
		break;
	case VIRTIO_DRIVER_FEATURES_SEL:
		disk->driver_features_sel = value;
		break;
	case VIRTIO_DRIVER_FEATURES:
		if (disk->driver_features_sel < 2)
			set_half(&disk->driver_features,
				 disk->driver_features_sel * 4, value);
		break;
	case VIRTIO_QUEUE_NUM:
		if (value && value <= VIRTIO_QUEUE_SIZE &&
		    !(value & (value - 1)))
			disk->queue_num = value;
		break;
	case VIRTIO_QUEUE_DESC:
	case VIRTIO_QUEUE_DESC + 4:
		set_half(&disk->desc, offset, value);
		break;
	case VIRTIO_QUEUE_DRIVER:
	case VIRTIO_QUEUE_DRIVER + 4:
		set_half(&disk->driver, offset, value);
		break;
	case VIRTIO_QUEUE_DEVICE:
	case VIRTIO_QUEUE_DEVICE + 4:
		set_half(&disk->device, offset, value);
		break;
	case VIRTIO_QUEUE_READY:
		disk->queue_ready = value & 1;
		break;
	case VIRTIO_QUEUE_NOTIFY:
		vm_hold_memory(vm);
		serve_queue(vm);
		vm_release_memory(vm);
		break;
	case VIRTIO_STATUS:
		if (value == 0)
			reset(disk);
		else
			disk->status = value;
		break;
	default:
		break;
	}
}

uint32_t vm__disk_read(struct vm *vm, uint32_t offset)
{
	uint32_t value;

	vm__addresses_note(vm, "mmio_read", GUEST_MMIO_DISK + offset, 4);
	pthread_mutex_lock(&vm->disk.lock);
	value = read_register(&vm->disk, offset);
	pthread_mutex_unlock(&vm->disk.lock);
	return value;
}

void vm__disk_write(struct vm *vm, uint32_t offset, uint32_t value)
{
	vm__addresses_note(vm, "mmio_write", GUEST_MMIO_DISK + offset, 4);
	pthread_mutex_lock(&vm->disk.lock);
	write_register(vm, offset, value);
	pthread_mutex_unlock(&vm->disk.lock);
}
