"""Operators that compute nothing: views, queries, and data movement, selection and drawing."""

from __future__ import annotations


def names(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


# Views that their schema does not show as views, and queries and assertions.
VIEWS = names(
    """
    _assert_async _assert_scalar _assert_tensor_metadata _debug_has_internal_overlap
    _functional_assert_async _functional_assert_scalar _functional_sym_constrain_range
    _functional_sym_constrain_range_for_size _fused_sdp_choice _has_same_storage_numel _dimI
    _dimV _is_all_true _is_any_true _linalg_check_errors _local_scalar_dense _make_dep_token
    _nested_get_jagged_dummy _nested_get_lengths _nested_get_max_seqlen _nested_get_min_seqlen
    _nested_get_offsets _nested_get_ragged_idx _nested_tensor_size
    _nested_tensor_storage_offsets _nested_tensor_strides _nnz _print _reshape_alias
    _resize_output _unsafe_view _use_cudnn_ctc_loss _use_miopen_ctc_loss
    _validate_compressed_sparse_indices alias as_strided dense_dim detach equal allclose
    is_coalesced is_pinned is_same_size is_set_to item lift lift_fresh q_per_channel_axis
    q_per_channel_scales q_per_channel_zero_points q_scale q_zero_point qscheme record_stream
    resize resize_as set sparse_dim sym_constrain_range sym_constrain_range_for_size sym_numel
    sym_size sym_storage_offset sym_stride sym_is_contiguous shallow_copy_data squeeze t
    transpose unsqueeze unsafe_split unsafe_split_with_sizes
    """
)

# These operators read, write, select or draw, and compute nothing. Sorting is one of them: its
# comparisons decide where a value goes, and their number depends on the algorithm and the values.
DATA_MOVEMENT = names(
    """
    __ilshift__ __irshift__ __lshift__ __rshift__ _chunk_cat _coalesce _coalesced _conj_copy
    _convert_indices_from_coo_to_csr _convert_indices_from_csr_to_coo
    _convert_weight_to_int4pack _convert_weight_to_int4pack_for_cpu _copy_from
    _copy_from_and_resize _cslt_compress _cudnn_init_dropout_state _cudnn_rnn_flatten_weight
    _dyn_quant_pack_4bit_weight _efficientzerotensor _empty_affine_quantized
    _empty_per_channel_affine_quantized _fill_mem_eff_dropout_mask _foreach_clone _foreach_copy
    _foreach_zero _fw_primal_copy _indices_copy _jagged_to_padded_dense_forward _lazy_clone
    _make_dual_copy _make_per_channel_quantized_tensor _make_per_tensor_quantized_tensor
    _mkldnn_reshape _mkldnn_transpose _neg_view_copy _nested_compute_contiguous_strides_offsets
    _nested_from_padded _nested_from_padded_and_nested_example _nested_from_padded_tensor
    _nested_get_values_copy _nested_select_backward _nested_tensor_from_mask
    _nested_tensor_from_mask_left_aligned _nested_tensor_from_tensor_list
    _nested_view_from_buffer_copy _nested_view_from_jagged_copy
    _new_zeros_with_same_feature_meta _pack_padded_sequence _padded_dense_to_jagged_forward
    _philox_key_fold_in _philox_key_split _philox_normal _philox_uniform _pin_memory
    _reshape_alias_copy _reshape_copy _sample_dirichlet _sparse_broadcast_to
    _sparse_broadcast_to_copy _sparse_compressed_tensor_with_dims _sparse_coo_tensor_with_dims
    _sparse_coo_tensor_with_dims_and_tensors _sparse_mask_projection _sparse_sum_backward
    _spdiags _stack _standard_gamma _to_copy _to_dense _to_sparse _to_sparse_bsc _to_sparse_bsr
    _to_sparse_csc _to_sparse_csr _to_sparse_semi_structured _unique _unique2 _unsafe_index
    _unsafe_masked_index _upsample_nearest_exact1d _upsample_nearest_exact2d
    _upsample_nearest_exact3d _values_copy alias_copy all any arange as_strided_copy
    as_strided_scatter bartlett_window bernoulli bincount binomial bitwise_and
    bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor blackman_window
    block_diag bucketize cat cauchy ccol_indices_copy channel_shuffle clone col_indices_copy
    constant_pad_nd contiguous copy copy_sparse_to_sparse copysign count_nonzero
    crow_indices_copy detach_copy diag_embed diagonal_backward diagonal_copy diagonal_scatter
    embedding empty empty_like empty_permuted empty_quantized empty_strided expand_copy
    exponential eye fft_fftfreq fft_rfftfreq fill flip frexp from_file full full_like gather gcd
    geometric hamming_window hann_window im2col index index_copy index_fill index_select
    indices_copy int_repr isin kaiser_window kthvalue lcm lift_fresh_copy linspace log_normal
    logical_and logical_not logical_or logical_xor logspace lu_unpack masked_fill masked_scatter
    masked_scatter_backward masked_select median meshgrid mkldnn_reorder_conv2d_weight
    mkldnn_reorder_conv3d_weight mode multinomial nanmedian narrow_copy native_channel_shuffle
    new_empty new_empty_strided new_full new_ones new_zeros nextafter nonzero nonzero_static
    normal normal_functional ones ones_like permute_copy pixel_shuffle pixel_unshuffle poisson
    rand rand_like randint randint_like randn randn_like random randperm range reflection_pad1d
    reflection_pad2d reflection_pad3d repeat repeat_interleave replication_pad1d
    replication_pad2d replication_pad3d resize_as_sparse roll rot90 row_indices_copy
    scalar_tensor searchsorted select_backward select_copy select_scatter slice_backward
    slice_copy slice_scatter sort sparse_compressed_tensor sparse_coo_tensor sparse_mask
    sparse_resize sparse_resize_and_clear split_copy split_with_sizes_copy squeeze_copy stack
    t_copy take to_mkldnn to_padded_tensor topk transpose_copy tril tril_indices triu
    triu_indices unbind_copy unfold_copy uniform unique_consecutive unique_dim
    unique_dim_consecutive unsqueeze_copy upsample_nearest1d upsample_nearest2d
    upsample_nearest3d values_copy view_as_complex_copy view_as_real_copy view_copy where zero
    zeros zeros_like
    """
)
