/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's disk driver: one virtio queue, one request at a time, no
 * interrupts: what was notified has been served.
 *
 * Each step writes one block of 4 KiB with a record as in RAM (its "page" is
 * the block's number) and reads another one back that was written earlier,
 * into a page that the device fills by DMA. So disk and memory prove each
 * other after a move.
 */
#include "virtio.h"
#include "work.h"

#define BLOCKS 2048u		/* as many as the version table holds */
#define SECTORS (GUEST_PAGE_BYTES / 512u)

struct disk {			/* at GUEST_QUEUE */
	struct virtq_desc desc[VIRTIO_QUEUE_SIZE];
	struct virtq_avail avail;
	uint8_t pad1[0x200 - sizeof(struct virtq_desc) * VIRTIO_QUEUE_SIZE -
		     sizeof(struct virtq_avail)];
	struct virtq_used used;
	uint8_t pad2[0x200 - sizeof(struct virtq_used)];
	struct virtio_blk_header header;
	uint32_t status;
	uint32_t ready;
	uint8_t pad3[0xc00 - 24];
	struct guest_record data;
	uint32_t versions[BLOCKS];
};
_Static_assert(sizeof(struct disk) <= GUEST_CONTROL - GUEST_QUEUE, "fits");

static void set_address(uint32_t at, uint64_t gpa)
{
	machine_mmio_write(at, (uint32_t)gpa);
	machine_mmio_write(at + 4, (uint32_t)(gpa >> 32));
}

static uint64_t gpa_of(const struct guest_memory *memory, const void *p)
{
	return (uint64_t)((const char *)p - memory->base);
}

static void set_up(const struct guest_memory *memory, struct disk *disk)
{
	uint32_t status = VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER;

	if (machine_mmio_read(VIRTIO_MAGIC) != VIRTIO_MAGIC_VALUE)
		return;
	machine_mmio_write(VIRTIO_STATUS, 0);
	machine_mmio_write(VIRTIO_STATUS, status);
	machine_mmio_write(VIRTIO_DRIVER_FEATURES_SEL, 1);
	machine_mmio_write(VIRTIO_DRIVER_FEATURES, 1);	/* VERSION_1 */
	machine_mmio_write(VIRTIO_STATUS, status |= VIRTIO_FEATURES_OK);
	machine_mmio_write(VIRTIO_QUEUE_SEL, 0);
	machine_mmio_write(VIRTIO_QUEUE_NUM, VIRTIO_QUEUE_SIZE);
	set_address(VIRTIO_QUEUE_DESC, gpa_of(memory, disk->desc));
	set_address(VIRTIO_QUEUE_DRIVER, gpa_of(memory, &disk->avail));
	set_address(VIRTIO_QUEUE_DEVICE, gpa_of(memory, &disk->used));
	machine_mmio_write(VIRTIO_QUEUE_READY, 1);
	machine_mmio_write(VIRTIO_STATUS, status | VIRTIO_DRIVER_OK);
	disk->ready = 1;
}

/* One request of one block; true if the device said OK. */
static int transfer(const struct guest_memory *memory, struct disk *disk,
		    uint32_t type, uint64_t block)
{
	struct virtq_desc *d = disk->desc;
	uint16_t next = (uint16_t)(disk->avail.idx + 1);

	disk->header.type = type;
	disk->header.sector = block * SECTORS;
	disk->status = 0xff;
	d[0].addr = gpa_of(memory, &disk->header);
	d[0].len = sizeof(disk->header);
	d[0].flags = VIRTQ_NEXT;
	d[0].next = 1;
	d[1].addr = gpa_of(memory, &disk->data);
	d[1].len = GUEST_PAGE_BYTES;
	d[1].flags = VIRTQ_NEXT | (type == VIRTIO_BLK_IN ? VIRTQ_WRITE : 0);
	d[1].next = 2;
	d[2].addr = gpa_of(memory, &disk->status);
	d[2].len = 1;
	d[2].flags = VIRTQ_WRITE;
	disk->avail.ring[disk->avail.idx % VIRTIO_QUEUE_SIZE] = 0;
	/* Pairs with the device's acquire of the index. */
	__atomic_store_n(&disk->avail.idx, next, __ATOMIC_RELEASE);
	machine_mmio_write(VIRTIO_QUEUE_NOTIFY, 0);
	/*
	 * The device serves a notify to its end, so it is done or never will be
	 * (a broken queue). Pairs with its release of data and status.
	 */
	if (__atomic_load_n(&disk->used.idx, __ATOMIC_ACQUIRE) != next)
		return 0;
	return (disk->status & 0xff) == VIRTIO_BLK_OK;
}

void guest_disk_step(const struct guest_memory *memory,
		     const struct guest_control *control,
		     struct guest_vcpu *me, uint64_t random)
{
	struct disk *disk = (void *)(memory->base + GUEST_QUEUE);
	uint64_t blocks = control->disk_blocks < BLOCKS ? control->disk_blocks
							: BLOCKS;
	uint64_t out = random % blocks, in = (random >> 32) % blocks;

	if (!disk->ready)
		set_up(memory, disk);
	if (!disk->ready)
		return;
	guest_record_fill(&disk->data, out, disk->versions[out] + 1);
	if (transfer(memory, disk, VIRTIO_BLK_OUT, out)) {
		disk->versions[out]++;
		me->disk_writes++;
	} else {
		me->disk_bad++;
	}
	if (!disk->versions[in])
		return;
	me->disk_reads++;
	if (!transfer(memory, disk, VIRTIO_BLK_IN, in) ||
	    guest_record_check(&disk->data, in, disk->versions[in]))
		me->disk_bad++;
}
