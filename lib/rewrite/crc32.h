/* crc32.h - the checksum that DT_CHECKSUM holds. */
#ifndef FP_CRC32_H
#define FP_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32 (ISO 3309, as zlib and .gnu_debuglink have it) of SIZE bytes at BYTES, behind those that gave CRC (0 at
   the start). */
uint32_t fp_crc32(uint32_t crc, const void *bytes, size_t size);

#endif
