/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The part of virtio 1.x that the guest's driver and the VMM's device share:
 * registers of the MMIO transport (section 4.2.2 of the specification), split
 * queue layout (2.7) and block requests (5.2).
 */
#ifndef GUEST_VIRTIO_H
#define GUEST_VIRTIO_H

#include <stdint.h>

enum {
	VIRTIO_MAGIC = 0x000,		/* reads "virt" */
	VIRTIO_VERSION = 0x004,		/* reads 2 */
	VIRTIO_DEVICE_ID = 0x008,	/* reads 2, block */
	VIRTIO_VENDOR_ID = 0x00c,
	VIRTIO_DEVICE_FEATURES = 0x010,
	VIRTIO_DEVICE_FEATURES_SEL = 0x014,
	VIRTIO_DRIVER_FEATURES = 0x020,
	VIRTIO_DRIVER_FEATURES_SEL = 0x024,
	VIRTIO_QUEUE_SEL = 0x030,
	VIRTIO_QUEUE_NUM_MAX = 0x034,
	VIRTIO_QUEUE_NUM = 0x038,
	VIRTIO_QUEUE_READY = 0x044,
	VIRTIO_QUEUE_NOTIFY = 0x050,
	VIRTIO_INTERRUPT_STATUS = 0x060,
	VIRTIO_INTERRUPT_ACK = 0x064,
	VIRTIO_STATUS = 0x070,
	VIRTIO_QUEUE_DESC = 0x080,	/* low, then high word */
	VIRTIO_QUEUE_DRIVER = 0x090,
	VIRTIO_QUEUE_DEVICE = 0x0a0,
	VIRTIO_CONFIG = 0x100,		/* u64 capacity in 512-byte sectors */
};

#define VIRTIO_MAGIC_VALUE 0x74726976u
#define VIRTIO_QUEUE_SIZE 8u

enum {
	VIRTIO_ACKNOWLEDGE = 1,
	VIRTIO_DRIVER = 2,
	VIRTIO_DRIVER_OK = 4,
	VIRTIO_FEATURES_OK = 8,
};

enum { VIRTQ_NEXT = 1, VIRTQ_WRITE = 2 };

struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct virtq_avail {
	uint16_t flags, idx, ring[VIRTIO_QUEUE_SIZE];
};

struct virtq_used_elem {
	uint32_t id, len;
};

struct virtq_used {
	uint16_t flags, idx;
	struct virtq_used_elem ring[VIRTIO_QUEUE_SIZE];
};

enum { VIRTIO_BLK_IN = 0, VIRTIO_BLK_OUT = 1, VIRTIO_BLK_FLUSH = 4 };
enum { VIRTIO_BLK_OK = 0, VIRTIO_BLK_IOERR = 1, VIRTIO_BLK_UNSUPP = 2 };

struct virtio_blk_header {
	uint32_t type, reserved;
	uint64_t sector;
};

#endif
