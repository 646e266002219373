"""Operators without a formula on purpose, each with its reason; a ledger names them."""

from __future__ import annotations

from flopaudit.reference.formulas.tables import merged

_ITERATIVE = """
    _linalg_eigh _linalg_eigvals _linalg_svd geqrf linalg_eig linalg_eigvals
    linalg_householder_product linalg_ldl_factor_ex linalg_ldl_solve linalg_lstsq
    linalg_matrix_exp linalg_matrix_sqrth linalg_pinv linalg_polar linalg_qr ormqr
    _compute_linear_combination _spsolve
"""
_BY_VALUES = """
    _segment_reduce_backward _sparse_csr_prod _sparse_log_softmax
    _sparse_log_softmax_backward_data _sparse_mm_reduce_impl _sparse_mm_reduce_impl_backward
    _sparse_softmax _sparse_softmax_backward_data _sparse_sparse_matmul _sparse_sum hspmm
    multilabel_margin_loss_backward multilabel_margin_loss_forward segment_reduce
    sparse_sampled_addmm sspaddmm histc histogram _histogramdd_bin_edges
    _histogramdd_from_bin_cts _histogramdd_from_bin_tensors mvlgamma roi_pool ps_roi_pool
    _nested_tensor_softmax_with_shape _nested_sum_backward
"""
_GRADIENTS = """
    _cdist_backward _ctc_loss_backward _cudnn_attention_backward _cudnn_rnn_backward
    _dirichlet_grad _efficient_attention_backward
    _fake_quantize_learnable_per_channel_affine_backward
    _fake_quantize_learnable_per_tensor_affine_backward _flash_attention_backward
    _grid_sampler_2d_cpu_fallback_backward _pdist_backward _slow_conv2d_backward
    _standard_gamma_grad _unsafe_masked_index_put_accumulate batch_norm_backward
    batch_norm_backward_elemt batch_norm_backward_reduce cudnn_affine_grid_generator_backward
    cudnn_batch_norm_backward cudnn_grid_sampler_backward glu_backward_jvp glu_jvp
    grid_sampler_2d_backward grid_sampler_3d_backward lstm_mps_backward
    miopen_batch_norm_backward miopen_rnn_backward mkldnn_linear_backward
    mkldnn_max_pool2d_backward mkldnn_max_pool3d_backward mkldnn_rnn_layer_backward
    mps_convolution_backward mps_convolution_transpose_backward multi_margin_loss_backward
    slice_inverse max_pool2d_backward
"""
_DEVICES = """
    _cslt_sparse_mm _cslt_sparse_mm_search _cudnn_attention_forward _cudnn_ctc_loss
    _dyn_quant_matmul_4bit _flash_attention_forward_no_dropout_inplace _mixed_dtypes_linear
    _scaled_grouped_mm _scaled_grouped_mm_v2 _scaled_mm_v2 _sparse_semi_structured_addmm
    _sparse_semi_structured_apply _sparse_semi_structured_apply_dense
    _sparse_semi_structured_linear _sparse_semi_structured_mm _sparse_semi_structured_tile
    _triton_multi_head_attention _triton_scaled_dot_attention
    _weight_int4pack_mm_with_scales_and_zeros batch_norm_elemt batch_norm_gather_stats
    batch_norm_gather_stats_with_counts batch_norm_stats batch_norm_update_stats
    cudnn_affine_grid_generator hash_tensor miopen_ctc_loss quantized_gru quantized_lstm
"""
_TRAINING = """
    _amp_foreach_non_finite_check_and_unscale _amp_update_scale
    _fake_quantize_learnable_per_channel_affine _fake_quantize_learnable_per_tensor_affine
    _fused_adagrad _fused_adam _fused_adamw _fused_moving_avg_obs_fq_helper
    _fused_moving_avg_obs_fq_helper_functional _fused_sgd quantize_per_tensor_dynamic
"""
_RARE = """
    special_airy_ai special_bessel_j0 special_bessel_j1 special_bessel_y0 special_bessel_y1
    special_chebyshev_polynomial_t special_chebyshev_polynomial_u special_chebyshev_polynomial_v
    special_chebyshev_polynomial_w special_hermite_polynomial_h special_hermite_polynomial_he
    special_laguerre_polynomial_l special_legendre_polynomial_p special_modified_bessel_i0
    special_modified_bessel_i1 special_modified_bessel_k0 special_modified_bessel_k1
    special_scaled_modified_bessel_k0 special_scaled_modified_bessel_k1
    special_shifted_chebyshev_polynomial_t special_shifted_chebyshev_polynomial_u
    special_shifted_chebyshev_polynomial_v special_shifted_chebyshev_polynomial_w
    special_spherical_bessel_j0
"""
_REASONS = {
    "it iterates, or is left to whatever algorithm the library picks": _ITERATIVE,
    "how much there is to do depends on the values, not on shapes": _BY_VALUES,
    "a gradient that no model's forward pass runs": _GRADIENTS,
    "runs on other devices or packed weights, where it could not be proven": _DEVICES,
    "belongs to the optimizer or to an observer, not to the model": _TRAINING,
    "a special function that models do not use": _RARE,
}
UNCOUNTED: dict[str, str] = merged(
    (reason, dict.fromkeys(names.split(), reason)) for reason, names in _REASONS.items()
)
