/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest in a boot sector, for any PC: it counts in 8,192 pages, in an order
 * that a register knows, and from time to time adds all counters up and compares
 * them with another register. It says K on the first serial line if they agree,
 * X if not: memory and processor are of one moment, or they are not. With
 * DISK, each count is first at 1 MiB of its memory and then in the first sector
 * of its second disk: the two differ by one at most.
 */
	.code16
	.globl _start
_start:	cli
	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %ss
	mov	$0x7c00, %sp
	in	$0x92, %al		/* A20 */
	or	$2, %al
	out	%al, $0x92
	lgdt	gdtr
	mov	%cr0, %eax
	or	$1, %al
	mov	%eax, %cr0
	ljmp	$8, $flat

	.code32
flat:	mov	$16, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	mov	$0x7c00, %esp
	xor	%ecx, %ecx		/* firmware may have been here */
0:	mov	%ecx, %edi
	shl	$12, %edi
	movl	$0, 0x1000010(%edi)
	inc	%ecx
	cmp	$0x2000, %ecx
	jb	0b
	xor	%ebx, %ebx		/* increments so far */
	mov	$12345, %esi		/* which page is next */
count:	imul	$1664525, %esi
	add	$1013904223, %esi
	mov	%esi, %edi
	shr	$16, %edi
	and	$0x1fff, %edi
	shl	$12, %edi
	incl	0x1000010(%edi)
	inc	%ebx
#ifdef DISK
	mov	%ebx, 0x100000
	mov	$0x1f6, %dx		/* the second of the first cable */
	mov	$0xf0, %al
	out	%al, %dx
	mov	$0x1f2, %dx
	mov	$1, %al
	out	%al, %dx
	xor	%eax, %eax
4:	inc	%edx
	out	%al, %dx
	cmp	$0xf5, %dl
	jne	4b
	mov	$0x1f7, %dx
	mov	$0x30, %al		/* write it */
	out	%al, %dx
5:	in	%dx, %al
	test	$8, %al
	jz	5b
	mov	$0x1f0, %dx
	mov	$128, %ecx
	mov	%ebx, %eax
6:	out	%eax, %dx
	loop	6b
	mov	$0x1f7, %dx
7:	in	%dx, %al
	test	$0x80, %al
	jnz	7b
#endif
	mov	$RATE, %ecx		/* not faster than anybody wants */
1:	dec	%ecx
	jnz	1b
	test	$0x3ff, %ebx
	jnz	count

	xor	%eax, %eax
	xor	%ecx, %ecx
2:	mov	%ecx, %edi
	shl	$12, %edi
	add	0x1000010(%edi), %eax
	inc	%ecx
	cmp	$0x2000, %ecx
	jb	2b
	cmp	%ebx, %eax
	mov	$'K', %al
	je	3f
	mov	$'X', %al
3:	mov	$0x3f8, %dx
	out	%al, %dx
	jmp	count

	.p2align 3
gdt:	.quad	0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdtr:	.word	23
	.long	gdt
	.org	510
	.word	0xaa55
