/*
 * format/fingerprint.c: a running XXH3-128, as a chain: the new value is the hash of the old one and of the new bytes'
 * hash. It needs no state that could fail to be allocated. Not for secrets.
 */
#include <string.h>
#include <xxhash.h>

#include "format/model_private.h"

void fam_hash_add(uint8_t hash[16], const void *data, size_t size)
{
    uint8_t link[32];
    XXH128_canonical_t digest;
    memcpy(link, hash, 16);
    XXH128_canonicalFromHash(&digest, XXH3_128bits(data, size));
    memcpy(link + 16, digest.digest, 16);
    XXH128_canonicalFromHash(&digest, XXH3_128bits(link, sizeof link));
    memcpy(hash, digest.digest, 16);
}

void fam_hash_add_tensor_head(uint8_t hash[16], const fam_tensor *tensor)
{
    const int64_t head[] = {tensor->type, tensor->n_dims, (int64_t)tensor->bytes};
    fam_hash_add(hash, tensor->name, strlen(tensor->name));
    fam_hash_add(hash, head, sizeof head);
    fam_hash_add(hash, tensor->shape, (size_t)tensor->n_dims * sizeof *tensor->shape);
}
